//! Typed columns: a table is declared once, and its schema, builders and batches follow.

use std::sync::Arc;

use arrow_array::builder::{
    ArrayBuilder as _, BinaryBuilder, BooleanBuilder, FixedSizeListBuilder, Float32Builder,
    Float64Builder, Int8Builder, Int16Builder, Int32Builder, Int64Builder, ListBuilder,
    StringBuilder, TimestampMicrosecondBuilder, UInt8Builder, UInt16Builder, UInt32Builder,
    UInt64Builder,
};
use arrow_array::cast::AsArray as _;
use arrow_array::types::{ArrowPrimitiveType, TimestampMicrosecondType};
use arrow_array::{Array, FixedSizeBinaryArray, PrimitiveArray, RecordBatch, StringArray};
use arrow_buffer::{Buffer, NullBufferBuilder};
use arrow_schema::{ArrowError, DataType, Field, TimeUnit};

use crate::event::row::Key;

/// Most rows in a batch.
pub const BATCH_ROWS: usize = 16 << 10;
/// Text bytes after which a batch is closed: few enough to be written out of the cache that they were built in.
pub const BATCH_BYTES: usize = 2 << 20;

/// A column type: how it is stored and built.
pub trait Column {
    /// Its builder.
    type Builder;
    /// An empty builder.
    fn builder() -> Self::Builder;
    /// An empty builder in place of one that is full, with room for as much.
    fn again(_full: &Self::Builder) -> Self::Builder {
        Self::builder()
    }
    /// Its Arrow type.
    fn data_type() -> DataType;
}

macro_rules! column {
    ($($(#[$doc:meta])* $name:ident, $builder:ty, $new:expr, $type:expr $(, $again:expr)?;)*) => {
        $($(#[$doc])* pub struct $name;
        impl Column for $name {
            type Builder = $builder;
            fn builder() -> $builder { $new }
            fn data_type() -> DataType { $type }
            $(fn again(full: &$builder) -> $builder { $again(full) })?
        })*
    };
}

column! {
    /// Text.
    Text, StringBuilder, StringBuilder::new(), DataType::Utf8, |full: &StringBuilder| {
        let bytes = full.values_slice().len();
        StringBuilder::with_capacity(full.len(), bytes + bytes / 8)
    };
    /// Sixteen bytes.
    Key16, KeyBuilder, KeyBuilder::default(), DataType::FixedSizeBinary(16);
    /// A time in UTC.
    Time, TimestampMicrosecondBuilder, TimestampMicrosecondBuilder::new().with_timezone("UTC"),
        DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()));
    /// Bytes.
    Bytes, BinaryBuilder, BinaryBuilder::new(), DataType::Binary;
    /// A count for each kind of feedback.
    PerKind, FixedSizeListBuilder<UInt64Builder>, FixedSizeListBuilder::new(UInt64Builder::new(), 16),
        DataType::FixedSizeList(Arc::new(Field::new("item", DataType::UInt64, true)), 16);
    /// Numbers, any count of them.
    I64s, ListBuilder<Int64Builder>, ListBuilder::new(Int64Builder::new()),
        DataType::List(Arc::new(Field::new("item", DataType::Int64, true)));
    /// A truth value.
    Bool, BooleanBuilder, BooleanBuilder::new(), DataType::Boolean;
    /// i8
    I8, Int8Builder, Int8Builder::new(), DataType::Int8;
    /// i16
    I16, Int16Builder, Int16Builder::new(), DataType::Int16;
    /// i32
    I32, Int32Builder, Int32Builder::new(), DataType::Int32;
    /// i64
    I64, Int64Builder, Int64Builder::new(), DataType::Int64;
    /// u8
    U8, UInt8Builder, UInt8Builder::new(), DataType::UInt8;
    /// u16
    U16, UInt16Builder, UInt16Builder::new(), DataType::UInt16;
    /// u32
    U32, UInt32Builder, UInt32Builder::new(), DataType::UInt32;
    /// u64
    U64, UInt64Builder, UInt64Builder::new(), DataType::UInt64;
    /// f32
    F32, Float32Builder, Float32Builder::new(), DataType::Float32;
    /// f64
    F64, Float64Builder, Float64Builder::new(), DataType::Float64;
}

/// Declares a table: `column: Type` is required, `column: Type or null` may be null.
macro_rules! table {
    ($(#[$doc:meta])* $name:ident { $($column:ident: $type:ident $(or $null:ident)?),* $(,)? }) => {
        $(#[$doc])*
        pub struct $name { $(pub(super) $column: <$type as $crate::store::columns::Column>::Builder),* }
        impl Default for $name {
            fn default() -> Self {
                Self { $($column: <$type as $crate::store::columns::Column>::builder()),* }
            }
        }
        impl $name {
            /// Names, types and nullability, in order.
            pub fn schema() -> arrow_schema::SchemaRef {
                std::sync::Arc::new(arrow_schema::Schema::new(vec![$(arrow_schema::Field::new(
                    stringify!($column),
                    <$type as $crate::store::columns::Column>::data_type(),
                    table!(@null $($null)?),
                )),*]))
            }
            /// The rows so far as a batch; the builder is empty afterwards.
            pub fn batch(&mut self) -> Result<arrow_array::RecordBatch, arrow_schema::ArrowError> {
                let columns: Vec<arrow_array::ArrayRef> = vec![$({
                    let next = <$type as $crate::store::columns::Column>::again(&self.$column);
                    std::sync::Arc::new(std::mem::replace(&mut self.$column, next).finish())
                }),*];
                arrow_array::RecordBatch::try_new(Self::schema(), columns)
            }
        }
    };
    (@null null) => { true };
    (@null) => { false };
}
pub(super) use table;

/// Builds a column of keys.
pub struct KeyBuilder {
    keys: Vec<i128>,
    valid: NullBufferBuilder,
}

impl Default for KeyBuilder {
    fn default() -> Self {
        Self {
            keys: Vec::new(),
            valid: NullBufferBuilder::new(0),
        }
    }
}

impl KeyBuilder {
    /// Adds a key or null.
    #[inline]
    pub fn append(&mut self, key: impl Into<Option<Key>>) {
        let key = key.into();
        self.valid.append(key.is_some());
        self.keys
            .push(i128::from_ne_bytes(key.unwrap_or_default().0));
    }

    /// The keys so far; the builder is empty afterwards.
    pub fn finish(&mut self) -> FixedSizeBinaryArray {
        let (keys, valid) = (std::mem::take(&mut self.keys), self.valid.finish());
        FixedSizeBinaryArray::new(16, Buffer::from_vec(keys), valid)
    }
}

/// Columns of a batch by name and type.
pub struct Columns<'a>(pub &'a RecordBatch);

impl<'a> Columns<'a> {
    fn column(&self, name: &str) -> Result<&'a dyn Array, ArrowError> {
        let missing = || ArrowError::SchemaError(format!("no column {name}"));
        self.0
            .column_by_name(name)
            .map(AsRef::as_ref)
            .ok_or_else(missing)
    }

    /// A text column.
    pub fn text(&self, name: &str) -> Result<&'a StringArray, ArrowError> {
        self.column(name)?
            .as_string_opt()
            .ok_or_else(|| mismatch(name))
    }

    /// A column of numbers.
    pub fn number<T: ArrowPrimitiveType>(
        &self,
        name: &str,
    ) -> Result<&'a PrimitiveArray<T>, ArrowError> {
        self.column(name)?
            .as_primitive_opt()
            .ok_or_else(|| mismatch(name))
    }

    /// A column of times.
    pub fn time(
        &self,
        name: &str,
    ) -> Result<&'a PrimitiveArray<TimestampMicrosecondType>, ArrowError> {
        self.number(name)
    }

    /// A column of keys.
    pub fn key(&self, name: &str) -> Result<Keys<'a>, ArrowError> {
        self.column(name)?
            .as_fixed_size_binary_opt()
            .map(Keys)
            .ok_or_else(|| mismatch(name))
    }
}

/// A column of keys.
pub struct Keys<'a>(&'a FixedSizeBinaryArray);

impl Keys<'_> {
    /// The key of a row.
    pub fn get(&self, row: usize) -> Option<Key> {
        if self.0.is_null(row) {
            None
        } else {
            self.0.value(row).try_into().ok().map(Key)
        }
    }
}

/// The number of a row, or none.
pub fn number<T: ArrowPrimitiveType>(column: &PrimitiveArray<T>, row: usize) -> Option<T::Native> {
    column.is_valid(row).then(|| column.value(row))
}

/// The text of a row, or none.
pub fn text(column: &StringArray, row: usize) -> Option<&str> {
    column.is_valid(row).then(|| column.value(row))
}

fn mismatch(name: &str) -> ArrowError {
    ArrowError::SchemaError(format!("column {name} has another type"))
}

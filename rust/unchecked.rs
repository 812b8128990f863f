//! The one module with unsafe code: what the compiler cannot check, beside the reason why it holds.
#![allow(unsafe_code)]

use crate::loss::{Form, Real, Rows, Sums};

/// Sums and slopes of a block, in the widest vectors that the processor has.
pub fn block<T: Real>(rows: &Rows<T>, form: &Form, first: usize, slope: &mut [T]) -> Sums {
    #[cfg(target_arch = "x86_64")]
    if is_x86_feature_detected!("avx2") {
        // SAFETY: the only thing `avx2` asks for is a processor that has AVX2.
        return unsafe { avx2(rows, form, first, slope) };
    }
    crate::loss::block(rows, form, first, slope)
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2")]
fn avx2<T: Real>(rows: &Rows<T>, form: &Form, first: usize, slope: &mut [T]) -> Sums {
    crate::loss::block(rows, form, first, slope)
}

/// Returns freed memory to the system. The allocator of glibc keeps it for the next run, which may never come.
pub fn give_back() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    // SAFETY: it may be called at any time and from any thread, and touches only what is free.
    unsafe {
        libc::malloc_trim(0);
    }
}

/// Bytes that are looked at in one step.
pub const BLOCK: usize = 16;

/// Whether a byte is a quote, a backslash or a control character.
#[inline]
pub fn is_mark(byte: u8) -> bool {
    byte < 0x20 || byte == b'"' || byte == b'\\'
}

/// A bit for each byte, the first one lowest: whether it is a mark.
#[inline]
pub fn marks(block: &[u8; BLOCK]) -> u32 {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: every such processor has SSE2, and sixteen bytes are there to be read.
    return unsafe {
        use std::arch::x86_64::{
            __m128i, _mm_cmpeq_epi8, _mm_loadu_si128, _mm_min_epu8, _mm_movemask_epi8,
            _mm_or_si128, _mm_set1_epi8,
        };
        let bytes = _mm_loadu_si128(block.as_ptr().cast::<__m128i>());
        let is = |byte: u8| _mm_cmpeq_epi8(bytes, _mm_set1_epi8(byte as i8));
        let control = _mm_cmpeq_epi8(_mm_min_epu8(bytes, _mm_set1_epi8(0x1f)), bytes);
        _mm_movemask_epi8(_mm_or_si128(_mm_or_si128(is(b'"'), is(b'\\')), control)) as u32
    };
    #[cfg(not(target_arch = "x86_64"))]
    block
        .iter()
        .rev()
        .fold(0, |marks, byte| marks << 1 | u32::from(is_mark(*byte)))
}

/// Bytes at the beginning that hold no mark, found in large steps: the first mark lies less than a step behind them.
pub fn unmarked(bytes: &[u8]) -> usize {
    #[cfg(target_arch = "x86_64")]
    if is_x86_feature_detected!("avx2") {
        // SAFETY: the only thing `unmarked_avx2` asks for is a processor that has AVX2.
        return unsafe { unmarked_avx2(bytes) };
    }
    clear(bytes)
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2")]
fn unmarked_avx2(bytes: &[u8]) -> usize {
    clear(bytes)
}

#[inline(always)]
fn clear(bytes: &[u8]) -> usize {
    const STEP: usize = 4 * BLOCK;
    let (steps, _) = bytes.as_chunks::<STEP>();
    let is_clear = |step: &&[u8; STEP]| {
        step.iter()
            .fold(0, |found, byte| found | u8::from(is_mark(*byte)))
            == 0
    };
    steps.iter().take_while(is_clear).count() * STEP
}

/// Asks for the memory of a value without waiting for it.
#[inline]
pub fn fetch<T>(value: &T) {
    #[cfg(target_arch = "x86_64")]
    for line in (0..size_of::<T>()).step_by(64) {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        // SAFETY: the address lies in the value; it is a hint, by which nothing is read or written.
        unsafe {
            _mm_prefetch::<_MM_HINT_T0>(std::ptr::from_ref(value).cast::<i8>().add(line));
        }
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = value;
}

/// The bytes as text, or back if they are not UTF-8.
pub fn text(bytes: Vec<u8>) -> Result<String, Vec<u8>> {
    if simdutf8::basic::from_utf8(&bytes).is_err() {
        return Err(bytes);
    }
    // SAFETY: they have just been found to be UTF-8, by a faster check than that of the standard library.
    Ok(unsafe { String::from_utf8_unchecked(bytes) })
}

#[cfg(feature = "python")]
pub use arrow::stream;
#[cfg(feature = "python")]
pub use tensor::{Element, Fresh, numbers};

#[cfg(feature = "python")]
mod arrow {
    use arrow_array::ffi_stream::{FFI_ArrowArrayStream, RecordBatchStreamReader};
    use pyo3::exceptions::PyValueError;
    use pyo3::prelude::*;
    use pyo3::types::PyCapsule;

    use crate::reader::table::Table;

    /// The table in a capsule of the Arrow C stream interface.
    pub fn stream(capsule: &Bound<'_, PyAny>) -> PyResult<Table> {
        let capsule = capsule.cast::<PyCapsule>()?;
        let address = capsule.pointer_checked(Some(c"arrow_array_stream"))?;
        let stream = address.cast::<FFI_ArrowArrayStream>().as_ptr();
        // SAFETY: a capsule of this name holds such a stream, by the interface's own rule; it is moved out, which
        // leaves a released one behind, and everything it will point to belongs to it.
        let reader = unsafe { RecordBatchStreamReader::from_raw(stream) };
        Ok(Box::new(reader.map_err(|error| {
            PyValueError::new_err(error.to_string())
        })?))
    }
}

#[cfg(feature = "python")]
mod tensor {
    use std::slice::{from_raw_parts, from_raw_parts_mut};

    use pyo3::exceptions::PyValueError;
    use pyo3::intern;
    use pyo3::prelude::*;

    /// A type of which every pattern of bits is a value.
    pub trait Element: Copy {
        /// Whether torch calls it floating.
        const FLOATING: bool;
    }

    impl Element for f32 {
        const FLOATING: bool = true;
    }

    impl Element for f64 {
        const FLOATING: bool = true;
    }

    impl Element for u8 {
        const FLOATING: bool = false;
    }

    /// The numbers of a torch tensor, where they lie.
    ///
    /// # Errors
    /// It is not contiguous, not on the CPU, or of another type.
    pub fn numbers<'a, T: Element>(tensor: &'a Bound<'_, PyAny>) -> PyResult<&'a [T]> {
        let (address, count) = place::<T>(tensor)?;
        if count == 0 {
            return Ok(&[]);
        }
        // SAFETY: the tensor has just said that `count` numbers of this width lie here one after the other; it
        // keeps them while it is borrowed, and as with every extension no thread may change them meanwhile.
        Ok(unsafe { from_raw_parts(address as *const T, count) })
    }

    /// A tensor that nobody else knows of yet.
    pub struct Fresh<'py>(Bound<'py, PyAny>);

    impl<'py> Fresh<'py> {
        /// Of the length and type of another, to be written.
        pub fn like(tensor: &Bound<'py, PyAny>) -> PyResult<Self> {
            let new = intern!(tensor.py(), "new_empty");
            Ok(Self(tensor.call_method1(new, (tensor.len()?,))?))
        }

        /// Its numbers.
        ///
        /// # Errors
        /// As `numbers`.
        pub fn numbers<T: Element>(&mut self) -> PyResult<&mut [T]> {
            let (address, count) = place::<T>(&self.0)?;
            if count == 0 {
                return Ok(&mut []);
            }
            // SAFETY: as in `numbers`, and nobody else knows of this tensor.
            Ok(unsafe { from_raw_parts_mut(address as *mut T, count) })
        }

        /// The tensor, to be shown to the world.
        pub fn shown(self) -> Bound<'py, PyAny> {
            self.0
        }
    }

    /// Address and length of the memory of a tensor.
    fn place<T: Element>(tensor: &Bound<'_, PyAny>) -> PyResult<(usize, usize)> {
        let py = tensor.py();
        let fits = tensor.getattr(intern!(py, "is_cpu"))?.extract::<bool>()?
            && tensor
                .call_method0(intern!(py, "is_contiguous"))?
                .extract::<bool>()?
            && tensor
                .call_method0(intern!(py, "is_floating_point"))?
                .extract::<bool>()?
                == T::FLOATING
            && tensor
                .call_method0(intern!(py, "element_size"))?
                .extract::<usize>()?
                == size_of::<T>();
        if !fits {
            return Err(PyValueError::new_err(format!(
                "a tensor is not as the loss needs it: contiguous, on the CPU, with {} bytes a number",
                size_of::<T>()
            )));
        }
        Ok((
            tensor.call_method0(intern!(py, "data_ptr"))?.extract()?,
            tensor.call_method0(intern!(py, "numel"))?.extract()?,
        ))
    }
}

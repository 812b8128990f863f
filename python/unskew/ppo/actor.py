"""Policy and value function as one module: one optimiser, one backward pass and one wrapper serve both."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from unskew.ppo.logprob import logprobs, logprobs_of_logits
from unskew.ppo.modules import hidden, inputs
from unskew.ppo.value import VALUE, VALUES

PARTS = "value.safetensors"
"""File of the value function beside the policy in a checkpoint."""


@dataclass
class Evaluated:
    """What the model says about completions; zero outside the mask, all of shape [B, T].

    Args:
        logprobs: log pi(token).
        entropy: entropy of the distribution that the token was drawn from, in nats.
        values: V(prompt and tokens before), None without a value function.
    """

    logprobs: Tensor
    entropy: Tensor
    values: Tensor | None


class ActorCritic(nn.Module):
    """A causal language model with a value function.

    Args:
        policy: Hugging Face causal language model, with or without LoRA adapters.
        value: `shared`, `separate`, `adapter`; a model whose trunk (and score head) to take; None for no
            values.
        temperature: of the softmax.
        chunk: tokens whose logits exist at a time; 0 takes the policy's own logits.

    Raises:
        ValueError: the policy's logits are no linear map of its hidden states while `chunk` asks for one, the
            value function does not fit, or adapters are asked of a policy without LoRA.
    """

    def __init__(
        self, policy: Any, value: "str | nn.Module | None", *, temperature: float = 1.0, chunk: int = 1024
    ) -> None:
        super().__init__()
        self.policy, self.temperature, self.chunk = policy, temperature, chunk
        self.is_peft = hasattr(policy, "disable_adapter") and hasattr(policy, "peft_config")
        self.kind = "none" if value is None else value if isinstance(value, str) else "separate"
        self.value_trunk: nn.Module | None = None
        self.value_head: nn.Linear | None = None
        if chunk:
            self._check_head()
        if value is not None:
            trunk, self.value_head = VALUES[self.kind](policy, None if isinstance(value, str) else value)
            self.value_trunk = trunk
        self._learns = [parameter for parameter in self.parameters() if parameter.requires_grad]

    @property
    def model(self) -> Any:
        """The causal language model itself, adapters in place."""
        return self.policy.get_base_model() if self.is_peft else self.policy

    @property
    def _keys_to_ignore_on_save(self) -> list[str]:
        """Tied weights, which a checkpoint does not repeat; a Trainer asks before it warns."""
        return list(getattr(self.model, "_tied_weights_keys", None) or [])

    def tie_weights(self) -> None:
        """What a Trainer does about them."""
        self.model.tie_weights()

    def forward(self, ids: Tensor, real: Tensor, mask: Tensor, values: bool = True) -> Evaluated:
        """Log-probabilities, entropies and values of the last T tokens of `ids`.

        Args:
            ids: prompts padded on the left, completions on the right. Shape [B, P + T].
            real: True where a token is no padding. Shape [B, P + T].
            mask: True for the tokens of completions. Shape [B, T].
            values: whether values are wanted too.
        """
        ask = slice(-mask.shape[1] - 1, -1)
        targets = ids[:, -mask.shape[1] :][mask]
        if self.chunk:
            states = hidden(self.model.base_model, ids, real)[:, ask]
            head = self.model.get_output_embeddings()
            chosen, entropy = logprobs(
                states[mask],
                head.weight,
                targets,
                bias=head.bias,
                temperature=self.temperature,
                chunk=self.chunk,
            )
        else:
            output = self.model(**inputs(self.model, ids, real), use_cache=False, output_hidden_states=True)
            states = output.hidden_states[-1][:, ask]
            chosen, entropy = logprobs_of_logits(
                output.logits[:, ask][mask], targets, temperature=self.temperature
            )
        found = None
        if values and self.value_head is not None:
            found = _fill(mask, self._values(states, ids, real, mask))
        return Evaluated(_fill(mask, chosen), _fill(mask, entropy), found)

    def reference(self, ids: Tensor, real: Tensor, mask: Tensor) -> Evaluated:
        """The same from the base without adapters, which is what a LoRA policy starts from. No gradient."""
        with torch.no_grad(), self._without_adapters():
            seen: Evaluated = self(ids, real, mask, values=False)
            return seen

    def _values(self, states: Tensor, ids: Tensor, real: Tensor, mask: Tensor) -> Tensor:
        assert self.value_head is not None
        if self.kind == "separate":
            states = hidden(self.value_trunk, ids, real)[:, -mask.shape[1] - 1 : -1]
        elif self.kind == "adapter":
            with self._adapter(VALUE):
                states = hidden(self.model.base_model, ids, real)[:, -mask.shape[1] - 1 : -1]
        values: Tensor = self.value_head(states[mask].to(self.value_head.weight.dtype))
        return values[:, 0]

    @contextmanager
    def _adapter(self, name: str) -> Iterator[None]:
        """Another adapter for a while. peft freezes the adapters that rest, so all are thawed again."""
        before = self.policy.active_adapter
        self.policy.set_adapter(name)
        try:
            yield
        finally:
            self.policy.set_adapter(before)
            self._thaw()

    @contextmanager
    def _without_adapters(self) -> Iterator[None]:
        with self.policy.disable_adapter():
            yield
        self._thaw()

    def _thaw(self) -> None:
        for parameter in self._learns:
            parameter.requires_grad_(True)

    def _check_head(self) -> None:
        """That logits = head(hidden), on two tokens."""
        head = self.model.get_output_embeddings()
        advice = "set logprob_chunk=0 to take the model's own logits"
        if type(head) is not nn.Linear:
            raise ValueError(
                f"the output head is a {type(head).__name__}; a plain nn.Linear is needed, or {advice}"
            )
        words = len(head.weight)  # not the first ones, which may be padding
        ids = torch.tensor([[words // 2, words - 1]], device=head.weight.device)
        training = self.training and self.policy.training
        self.policy.eval()
        with torch.no_grad():
            states = hidden(self.model.base_model, ids, torch.ones_like(ids))
            ours, theirs = head(states.to(head.weight.dtype)).float(), self.model(ids).logits.float()
        self.policy.train(training)
        if (ours - theirs).abs().max() > 1e-2 * theirs.abs().max():
            raise ValueError(
                f"the logits of {type(self.model).__name__} are not its output head on its hidden states "
                f"(difference {float((ours - theirs).abs().max()):.3g}); {advice}"
            )

    def activation_checkpointing_enable(
        self, activation_checkpointing_kwargs: dict[str, Any] | None = None, **_: Any
    ) -> None:
        """Recompute activations backward, in every trunk that learns; what a Trainer calls.

        Raises:
            ValueError: the value function is an adapter: its recomputation would run with the policy's.
        """
        if self.kind == "adapter":
            raise ValueError(
                "value is 'adapter' and activations are to be recomputed, which would take the policy's; "
                "set value='shared', give a value_model, or gradient_checkpointing=False"
            )
        trunks: list[Any] = [self.policy, self.value_trunk]
        for trunk in trunks:
            if hasattr(trunk, "activation_checkpointing_enable"):
                trunk.activation_checkpointing_enable(activation_checkpointing_kwargs)
            elif trunk is not None:
                trunk.gradient_checkpointing_enable(activation_checkpointing_kwargs)
        if self.is_peft:
            self.policy.enable_input_require_grads()

    def gradient_checkpointing_enable(
        self, gradient_checkpointing_kwargs: dict[str, Any] | None = None, **_: Any
    ) -> None:
        """The same under the name that older Trainers call."""
        self.activation_checkpointing_enable(gradient_checkpointing_kwargs)

    def save(self, directory: str, state: dict[str, Tensor] | None = None) -> None:
        """The policy as its own `save_pretrained` writes it, the value function in `value.safetensors`.

        Args:
            directory: where to; made when absent.
            state: parameters of this module, gathered by who shards them; its own when absent.
        """
        from safetensors.torch import save_file

        mine = (
            None
            if state is None
            else {
                name.removeprefix("policy."): value
                for name, value in state.items()
                if name.startswith("policy.")
            }
        )
        self.policy.save_pretrained(directory, state_dict=mine)
        parts = {
            name: value.contiguous()
            for name, value in (state or self.state_dict()).items()
            if name.startswith(("value_trunk.", "value_head."))
        }
        if parts:
            save_file(parts, str(Path(directory) / PARTS))

    def load_value(self, directory: str) -> None:
        """The value function that `save` wrote.

        Raises:
            FileNotFoundError: it is not there.
            ValueError: it is another one.
        """
        from safetensors.torch import load_file

        self._thaw()  # peft loads adapters that rest as frozen
        if self.value_head is None:
            return
        path = Path(directory) / PARTS
        if not path.is_file():
            raise FileNotFoundError(f"{path} does not exist; a checkpoint with a value function is needed")
        parts = load_file(str(path))
        wanted = {name for name in self.state_dict() if name.startswith(("value_trunk.", "value_head."))}
        if set(parts) != wanted:
            odd = sorted(set(parts) ^ wanted)[:3]
            raise ValueError(
                f"{path}: not the value function of this run ({', '.join(odd)}, ...); set the same `value`"
            )
        self.load_state_dict(parts, strict=False)


def _fill(mask: Tensor, found: Tensor) -> Tensor:
    """Numbers of the tokens in the mask, zero elsewhere."""
    return found.new_zeros(mask.shape).masked_scatter(mask, found)

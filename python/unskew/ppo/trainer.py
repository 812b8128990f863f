"""On-policy training on one page: roll out, judge, compare, take clipped steps; again.

    round   completions y ~ pi of the round's prompts
            score = rewards(y), scaled and clipped; a token earns -beta KL_t, the last one also the score
            advantages and returns by gae, rloo, grpo or dr_grpo
    steps   loss = mean clip(pi / pi_old, A) [+ beta KL] [- c entropy] [+ vf_coef value loss]

The loop is the Trainer's own; `train()` is not overridden. A micro-batch of the data loader only names the
prompts of its round: `training_step` rolls out when the buffer is used up, and takes its rows from there. So
callbacks, reporters, schedules, accumulation and resuming are those of any Trainer, and what is ours travels
with each checkpoint (`keeping`). Poisoned steps, roll-backs and whole checkpoints: `reward.guard`.
"""

from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader

from unskew.ppo import figures, kl
from unskew.ppo.actor import ActorCritic
from unskew.ppo.advantage import ADVANTAGES, NEED_VALUES, Rewarded, whiten
from unskew.ppo.buffer import Buffer, deal
from unskew.ppo.build import huggingface, policy_of, reference_of, value_of
from unskew.ppo.config import PPOConfig
from unskew.ppo.generate import Generator
from unskew.ppo.keeping import Keeping
from unskew.ppo.monitor import Limits, Monitor
from unskew.ppo.objective import POLICY_LOSSES, WEIGHINGS, value_loss
from unskew.ppo.prompts import Rounds
from unskew.ppo.rewards import Rewards
from unskew.ppo.rollout import Rows, Vocabulary, look
from unskew.ppo.scores import Moments, Treatment
from unskew.ppo.watching import Watching
from unskew.reward.dropout import without_dropout
from unskew.reward.guard import Guarded


class OnPolicyTrainer(Watching, Guarded, Keeping):
    """PPO, RLOO or GRPO of a causal language model, for any reward.

    Args:
        model: the policy: a Hugging Face causal language model, with or without LoRA, or a directory to load.
        reward_funcs: a directory, a function with TRL's signature, an `http://` address, a reward model, or a
            list of them (`ppo.rewards.source`).
        args: `PPOConfig`, `RLOOConfig` or `GRPOConfig`; `PPOConfig("ppo")` when absent.
        train_dataset: rows with `prompt`, text or conversation; other columns reach the reward functions.
        eval_dataset: rows of the same kind.
        processing_class: the policy's tokenizer.
        ref_model: the reference; when absent a frozen copy of the policy, or with LoRA its base.
        value_model: starts the value function (its trunk, and its score head where it has one); it must read
            the policy's tokens. `args.value` decides when absent.
        gold: a reward that is watched but never trained on; whatever `reward_funcs` may be.
        generator: writes completions (`ppo.generate.Generator`); Hugging Face's `generate` when absent.
        peft_config: LoRA settings to put on the policy.
        kwargs: further arguments of `Trainer`, as callbacks and optimizers.

    Raises:
        ValueError: arguments do not fit together.
    """

    config = PPOConfig
    """Class of the settings that are made when none are given."""

    def __init__(
        self,
        model: Any,
        reward_funcs: Any,
        args: PPOConfig | None = None,
        train_dataset: Any = None,
        eval_dataset: Any = None,
        processing_class: Any = None,
        *,
        ref_model: Any = None,
        value_model: nn.Module | None = None,
        gold: Any = None,
        generator: Generator | None = None,
        peft_config: Any = None,
        **kwargs: Any,
    ) -> None:
        if not hasattr(train_dataset, "__len__"):
            raise ValueError(
                f"train_dataset is a {type(train_dataset).__name__} without length; a Dataset or a list is "
                "needed"
            )
        if args is None:
            args = self.config(self.config.__name__.removesuffix("Config").lower())
        torch.manual_seed(args.seed)  # adapters are drawn
        policy, tokenizer = policy_of(model, processing_class, peft_config)
        needs_values = ADVANTAGES[args.advantage] in NEED_VALUES
        value = value_of(args.value, policy, value_model) if needs_values else None
        self.actor = ActorCritic(policy, value, temperature=args.temperature, chunk=args.logprob_chunk)
        if args.disable_dropout:
            without_dropout(self.actor)
        self.reference, self.reference_digest = reference_of(args, self.actor, ref_model)
        super().__init__(
            self.actor,
            args,
            data_collator=list,
            train_dataset=train_dataset,
            eval_dataset=eval_dataset,
            processing_class=tokenizer,
            **kwargs,
        )
        self.loss_is_scaled_for_ga = self.model_accepts_loss_kwargs = True  # divided by the step's own total
        self.vocabulary = Vocabulary.of(tokenizer, policy)
        self.generator = generator or huggingface(args, self.vocabulary)
        self.rewards = Rewards(reward_funcs, args.reward_weights, limit=args.max_missing_reward)
        self.gold = None if gold is None else Rewards(gold, limit=1.0)
        self.treatment = Treatment(
            args.use_score_scaling, args.use_score_norm, args.score_clip, args.missing_eos_penalty
        )
        # --- kept with each checkpoint
        self.chance = torch.Generator().manual_seed(args.seed + 7919 * args.process_index)
        self.controller = kl.Controller(args.kl_coef, args.kl_target, args.kl_horizon)
        self.moments, self.notes, self.counts = Moments(), figures.Notes(), {}
        self.monitor = Monitor(
            Limits(
                args.max_kl,
                args.ratio_threshold,
                args.min_entropy,
                args.max_length_growth,
                args.max_gold_drop,
            )
        )
        self.buffer: Buffer | None = None

    def went_back(self) -> None:
        """The rows at hand are another policy's."""
        self.buffer = None

    # --- the loop -------------------------------------------------------------------------------------------

    def get_train_dataloader(self) -> DataLoader[Any]:
        """Micro-batches that name the prompts of their round."""
        args, ranks = self.args, self.accelerator.num_processes
        rounds = Rounds(
            len(self.train_dataset),
            prompts=args.completions // args.num_generations,
            ticks=args.ticks,
            ranks=ranks,
            seed=args.seed if args.data_seed is None else args.data_seed,
            epoch=lambda: self.state.global_step * args.gradient_accumulation_steps * ranks // len(rounds),
        )
        loader = DataLoader(self.train_dataset, batch_sampler=rounds, collate_fn=self.data_collator)
        return self.accelerator.prepare(loader)  # type: ignore[no-any-return]

    def training_step(self, model: nn.Module, inputs: Rows, num_items_in_batch: Any = None) -> Tensor:
        """One micro-batch; a roll-out before it when nothing is left.

        Raises:
            NumericError: too many completions have no finite reward, or a limit was passed (`Diverged`).
        """
        if self.buffer is None or self.buffer.used_up:
            self.buffer = self.roll_out(inputs)
        if self.buffer.position % self.args.gradient_accumulation_steps == 0:
            step = self.buffer.ahead("mask", self.args.gradient_accumulation_steps)
            total = WEIGHINGS[self.args.loss_type](step, self.args.response_length)[1]
            self._totals = self._sum(torch.stack([total, step.sum().float()])).clamp(min=1)
        return super().training_step(model, self.buffer.take(), self._totals[1])

    def roll_out(self, rows: Rows) -> Buffer:
        """Completions of prompts, with everything that the steps of a round need."""
        args, batch = self.args, self.args.local_rollout_forward_batch_size
        self.model.eval()
        seed = int(torch.randint(2**62, (1,), generator=self.chance))
        seen = self.write(rows, args.num_generations, seed)
        old = look(self.model, seen, batch)
        scored = self.rewards(seen.written)
        raw = torch.from_numpy(scored.score).to(args.device, torch.float32)
        valid = ~raw.isnan() & (seen.ended | (not args.mask_truncated_completions))
        mask = seen.mask & valid[:, None]
        self.moments.update(raw[valid], self._sum)
        score, clipped = self.treatment(torch.where(valid, raw, 0.0), seen.ended, self.moments)

        with self.accelerator.autocast():  # the policy does so by itself
            reference = None if self.reference is None else look(self.reference, seen, batch).logprobs
        logratio = torch.zeros_like(old.logprobs) if reference is None else old.logprobs - reference
        paid = 0.0 if args.kl_in_loss else self.controller.beta
        each = kl.ESTIMATORS[args.kl_estimator](logratio)
        rewards = kl.shaped(score, each, mask, paid, kl.FORMS[args.kl_form])
        if args.whiten_rewards:
            rewards = whiten(rewards, mask, shift=False, total=self._sum)
        advantages, returns = ADVANTAGES[args.advantage](
            Rewarded(rewards, mask, old.values, args.num_generations, args.gamma, args.lam)
        )
        if args.whiten_advantages:
            advantages = whiten(advantages, mask, total=self._sum)

        self.watch(seen, old, scored, raw, valid, None if reference is None else logratio, clipped)
        kept = {"ids": seen.ids, "real": seen.real, "mask": mask}
        kept |= {"logprobs": old.logprobs, "advantages": advantages}
        if old.values is not None:
            kept |= {"values": old.values, "returns": returns}
        if reference is not None and args.kl_in_loss:
            kept["reference"] = reference
        return deal(kept, epochs=args.num_ppo_epochs, size=args.train_batch_size, chance=self.chance)

    def compute_loss(
        self,
        model: nn.Module,
        inputs: dict[str, Tensor],
        return_outputs: bool = False,
        num_items_in_batch: Any = None,
    ) -> Any:
        """A micro-batch's share of the mean over the optimiser step."""
        args, mask = self.args, inputs["mask"]
        now = model(inputs["ids"], inputs["real"], mask)
        high = args.cliprange if args.cliprange_high is None else args.cliprange_high
        losses, clipped = POLICY_LOSSES[args.policy_loss](
            now.logprobs, inputs["logprobs"], inputs["advantages"], args.cliprange, high
        )
        ratio = torch.exp(now.logprobs.detach() - inputs["logprobs"])
        noted = {"policy_loss": losses, "clip_ratio": clipped, "ratio": ratio}
        if args.entropy_coef:
            losses = losses - args.entropy_coef * now.entropy
        if "reference" in inputs:
            noted["kl_loss"] = kl.ESTIMATORS[args.kl_estimator](now.logprobs - inputs["reference"])
            losses = losses + self.controller.beta * noted["kl_loss"]
        weight, _ = WEIGHINGS[args.loss_type](mask, args.response_length)
        loss = (losses * weight).sum() / self._totals[0]
        if now.values is not None:
            noted["value_loss"], noted["value_clip_ratio"] = value_loss(
                now.values, inputs["values"], inputs["returns"], args.cliprange_value
            )
            loss = loss + args.vf_coef * (noted["value_loss"] * mask).sum() / self._totals[1]
        if bool(mask.any()):
            found = {name: figures.mean(value.detach(), mask) for name, value in noted.items()}
            self.notes.add(found)
            self.monitor.ratio(found["ratio"])
        loss = loss * self.accelerator.num_processes  # gradients are averaged over ranks
        return (loss, now) if return_outputs else loss

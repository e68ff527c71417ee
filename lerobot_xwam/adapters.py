"""PEFT's wrapper around the policy, taught what LeRobot needs of it: whole films, averages of adapters.

LeRobot and PEFT make the wrapper themselves, so it gets its class when it takes the policy in.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any
from weakref import ref

from torch import Tensor, nn
from torch.nn.modules.module import register_module_module_registration_hook
from torch.utils.hooks import RemovableHandle

from .training.ema import EMA_FILE
from .weights.loading import find_weights


@cache
def adapted_policy() -> type[nn.Module]:
    """The class of the wrapper; peft is not needed by those who have no adapter."""
    from peft import PeftModel, get_peft_model_state_dict, set_peft_model_state_dict
    from safetensors.torch import load_file

    class AdaptedPolicy(PeftModel):
        @property
        def policy(self) -> Any:  # CheckpointedPolicy
            return self.get_base_model()

        def update(self) -> None:
            self.policy.update(self.names_in_files)

        @property
        def last_predicted_latents(self) -> Tensor | None:
            return self.policy.last_predicted_latents

        @last_predicted_latents.setter
        def last_predicted_latents(self, value: Tensor | None) -> None:
            """lerobot-eval empties it after every chunk: on the wrapper that would hide the policy's own."""
            self.policy.last_predicted_latents = value

        def save_pretrained(self, save_directory: str | Path, **kwargs: Any) -> None:
            super().save_pretrained(str(save_directory), **kwargs)
            if self.policy._average is not None:
                self.policy._average.save(Path(save_directory) / EMA_FILE, names=self.names_in_files())

        def load_adapter(self, model_id: str | Path, adapter_name: str, *args: Any, **kwargs: Any) -> Any:
            result = super().load_adapter(model_id, adapter_name, *args, **kwargs)
            policy, revision = self.policy, kwargs.get("revision")
            policy.stop_expecting()
            policy._average_before = Path(model_id) / EMA_FILE
            if policy.config.use_ema:
                average = find_weights(str(model_id), revision, name=EMA_FILE)
                set_peft_model_state_dict(self, load_file(average), adapter_name=adapter_name)
                policy.config.use_ema = False  # they are its weights now
            return result

        def names_in_files(self) -> dict[str, str]:
            """The policy's trained parameters -> what PEFT calls them in an adapter's file."""
            stored = {
                tensor.data_ptr(): name
                for name, tensor in get_peft_model_state_dict(self).items()
                if tensor.numel()
            }
            trained = [(n, p) for n, p in self.policy.named_parameters() if p.requires_grad]
            return {name: stored[parameter.data_ptr()] for name, parameter in trained}

    return AdaptedPolicy


@contextmanager
def adapting(policy: nn.Module) -> Iterator[None]:
    """Whoever wraps this policy meanwhile gets the class above."""
    hook = expect_wrapper(policy)
    try:
        yield
    finally:
        hook.remove()


def expect_wrapper(policy: nn.Module) -> RemovableHandle:
    """Until the hook is removed, PEFT's wrapper gets the class above when it takes the policy in."""
    from peft import PeftModel

    expected = ref(policy)

    def registered(owner: nn.Module, name: str, part: nn.Module | None) -> None:
        wraps = type(owner) is PeftModel and name == "base_model"
        if wraps and getattr(part, "model", None) is expected() is not None:
            owner.__class__ = adapted_policy()

    return register_module_module_registration_hook(registered)

"""The private native half: handles, futures and streams that carry JSON texts."""

from asyncio import Future
from collections.abc import Callable
from typing import Any, Generic, TypeVar, final

__all__ = ["Feed", "Mind", "Work", "__version__", "cli", "ending"]
__version__: str

_T = TypeVar("_T")
_Part = tuple[str, Callable[[str], Any]]

def cli(program: list[str], arguments: list[str]) -> int: ...
def ending() -> None: ...

@final
class Work(Generic[_T]):
    def wait(self, /) -> _T: ...
    def start(self, /) -> Future[_T]: ...

@final
class Feed:
    def next(self, /) -> Work[str | None]: ...
    def close(self, /) -> None: ...

@final
class Mind:
    @staticmethod
    def open(
        url: str,
        config: str | None,
        config_file: str | None,
        models: list[str],
        host_models: list[_Part],
        embedder: str | None,
        host_embedder: _Part | None,
    ) -> Work[Mind]: ...
    def call(
        self,
        /,
        engine: str,
        request: str,
        timeout_ms: float | None = None,
        tenant: str | None = None,
        budget_nano_usd: int | None = None,
        priority: str | None = None,
    ) -> Work[str]: ...
    def folder(
        self,
        /,
        request: str,
        timeout_ms: float | None = None,
        tenant: str | None = None,
        budget_nano_usd: int | None = None,
        priority: str | None = None,
    ) -> Work[str]: ...
    def stream(
        self,
        /,
        request: str,
        timeout_ms: float | None = None,
        tenant: str | None = None,
        budget_nano_usd: int | None = None,
        priority: str | None = None,
    ) -> Feed: ...
    def events(self, /) -> Feed: ...
    def metrics(self, /) -> str: ...
    def health(self, /) -> Work[str]: ...
    def register_model(self, /, profile: str, chat: Callable[[str], Any]) -> None: ...
    def set_embedder(self, /, profile: str, embed: Callable[[str], Any]) -> None: ...
    def set_router(self, /, route: Callable[[str], Any]) -> None: ...
    def set_reranker(self, /, name: str, rerank: Callable[[str], Any]) -> None: ...
    def register_function(self, /, spec: str, run: Callable[[str], Any]) -> None: ...
    def unregister_function(self, /, name: str) -> None: ...
    def register_engine(self, /, name: str, answer: Callable[[str], Any]) -> None: ...
    def register_gate(self, /, name: str, check: Callable[[str], Any]) -> None: ...
    def reload(self, /, config: str | None, config_file: str | None) -> Work[None]: ...
    def close(self, /) -> Work[None]: ...

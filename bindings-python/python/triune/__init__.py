"""An AI engine that lives inside a program: local and cloud models, memory, task graphs, ideas and a team of agents.

    import triune

    with triune.open("./mind") as mind:
        mind.recall.store("Ada moved to Paris in 2024", metadata={"user": "ada"})
        for hit in mind.recall.query("Where does Ada live?", k=5):
            print(hit.score, hit.text, hit.why)
        reply = mind.generate("Say hello to Ada.")
        print(reply.text, reply.model, reply.cost_usd, reply.saved_usd)

`triune.open` gives a `Triune`, whose calls wait with the interpreter released; `AsyncTriune.open` gives the same calls
for asyncio. Importing starts nothing: no thread, no connection.
"""

from . import errors, protocols, types
from ._async_mind import AsyncTriune
from ._mind import Triune, open
from ._native import __version__
from ._streams import AsyncEventStream, AsyncTextStream, EventStream, TextStream
from .errors import *  # noqa: F403
from .protocols import ChatModel, Embedder, Engine, Gate, Reranker, Route
from .types import *  # noqa: F403

open_async = AsyncTriune.open

__all__ = [
    "AsyncEventStream",
    "AsyncTextStream",
    "AsyncTriune",
    "ChatModel",
    "Embedder",
    "Engine",
    "EventStream",
    "Gate",
    "Reranker",
    "Route",
    "TextStream",
    "Triune",
    "__version__",
    "errors",
    "open",
    "open_async",
    "protocols",
    "types",
]
__all__ += errors.__all__
__all__ += types.__all__

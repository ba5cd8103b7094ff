"""Search strategies: which cell to query next. One method, one file; none of them sees a table."""

from archrep.strategies.base import Ask, Strategy, StrategyConfig, settings
from archrep.strategies.registry import STRATEGIES, get_strategy, register_strategy

__all__ = [
    "STRATEGIES",
    "Ask",
    "Strategy",
    "StrategyConfig",
    "get_strategy",
    "register_strategy",
    "settings",
]

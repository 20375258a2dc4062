"""Anybody's own network: opened by the import path of what builds it, with the attention that is found in it."""

from analysis.modules.opening import open_module
from analysis.modules.own_module import Found, ModuleSpec, OwnModule

__all__ = ["Found", "ModuleSpec", "OwnModule", "open_module"]

from tests.inpainting.conftest import checkpoint, load, painter, quick_compilation

__all__ = ["checkpoint", "load", "painter", "quick_compilation"]

"""The place that students saved before name in their modules.json."""

from distill.models.latent_attention import LatentAttention

__all__ = ["LatentAttention"]

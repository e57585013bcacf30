"""What several tests share: tiny models, fake servers, hand-made runs."""

"""What every server here shares: who may come in, what leaves, forms that are its own, and pages that say why not."""

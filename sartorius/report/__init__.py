"""One page that shows what was found, what was missed, and at which step each true cell was lost."""

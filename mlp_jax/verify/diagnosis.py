def causes(comparison, leaves): return []

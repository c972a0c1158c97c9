"""From files and arrays to `Batch` rows: reading, cutting, sampling, augmenting, loading."""

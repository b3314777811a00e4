//! Where model files come from: a path, the hub cache, the cache folder of triune.

"""The only I/O: objects under paths, refs under names, in memory or in a directory. Spec 0005."""

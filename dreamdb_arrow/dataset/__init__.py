"""What users hold: schemas, datasets, and the verbs on them. Spec 0006."""

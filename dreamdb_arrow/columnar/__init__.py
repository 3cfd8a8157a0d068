"""The columnar layer: rows of a Space as stripes that engines read natively. Spec 0021."""

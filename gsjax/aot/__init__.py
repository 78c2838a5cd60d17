"""Estimates what a config costs on TPUs, with the TPU compiler, on a machine without TPUs.

`chips` has the generations and their slices, `program` compiles the train step (or inference) for
one, `collectives` extracts the collectives, and `report` summarizes.
"""

"""What a config comes to on TPUs, found out by their compiler on a machine without any.

`chips` knows the generations and their slices, `program` compiles the train step (or the
generator alone) for one, `collectives` reads what crosses chips, `report` adds up.
"""

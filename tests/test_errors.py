from gsjax.errors import suggestion

FIELDS = ["checkpoint.every", "log.every", "model.gaussians", "train.batch_size", "train.steps"]


def test_a_suggestion_prefers_a_field_of_the_same_name():
    assert suggestion("batch_size", FIELDS) == "train.batch_size"
    assert suggestion("chekpoint.every", FIELDS) == "checkpoint.every"
    assert suggestion("modle.gausians", FIELDS) == "model.gaussians"
    assert suggestion("qqq", FIELDS) is None

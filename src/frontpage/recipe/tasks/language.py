"""Language: the next token, from windows of documents."""

from frontpage.recipe.tasks.task import Task


class Language(Task):
    """The language task; its loss is the mean nats a token, as of any language model."""

"""HNTitles: Hacker News titles from the Hugging Face hub, or from a file."""

from datetime import datetime
from typing import Any

from frontpage.data.hub import read_hub_times, read_hub_titles
from frontpage.data.title_data import TitleData


class HNTitles(TitleData):
    """Titles of Hacker News posts: `repository` at `revision` on the hub, unless `path` names a file."""

    def __init__(self, *, repository: str, revision: str, **shared: Any) -> None:
        super().__init__(**shared)
        self.repository, self.revision = repository, revision
        self.commit: str | None = None

    def source(self) -> list[str]:
        """The titles of the hub's data set at the revision; UserError where the hub cannot be reached."""
        titles, self.commit = read_hub_titles(self.repository, self.revision, self.column)
        return titles

    def source_times(self) -> list[datetime]:
        """When they were written, of the commit that was read."""
        return read_hub_times(self.repository, self.commit or self.revision, self.time_column)

    @property
    def source_name(self) -> str:
        """Repository and the commit that was read."""
        return f"{self.repository}@{self.commit or self.revision}"

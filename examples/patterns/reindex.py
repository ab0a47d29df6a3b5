"""Debounced re-index: a burst of edits to one document makes one run, with the latest edit, once it is quiet.

For work whose last run makes the earlier ones pointless: search indexes, previews, caches, syncs. Not where each event
counts: `Batch`, or `Debounce(keep="all")`, hands all of them to the run. `timeout` sees to it that a document which is
edited without a pause is indexed all the same. The edits that were passed over are recorded as skipped.

    perdure dev examples/patterns/reindex.py:app
    perdure events send document/edited '{"document": "d1", "revision": 1}'
    perdure events send document/edited '{"document": "d1", "revision": 2}'     # within 10 s: one run, of revision 2
"""

from __future__ import annotations

from perdure import App, Context, Debounce, Event

app = App("reindex")


class Edited(Event, name="document/edited", key="data.document"):
    document: str
    revision: int


def update_index(document: str, revision: int) -> str:
    return f"{document} is searchable in revision {revision}"


@app.function(on=Edited, retries=10, debounce=Debounce("10s", key="event.data.document", timeout="2m"))
async def index(ctx: Context[Edited]) -> str:
    edit = ctx.event.data
    return await ctx.step.run("update-index", update_index, edit.document, edit.revision)

"""Reading for people: the journal folded into lists, histories and steps. A reader of the log, never a part of it."""

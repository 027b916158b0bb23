"""Episodes on disk: schema, writer, reader, splits, exports, one importer per public data set."""

"""The embedded history: samples and events kept in DuckDB and Parquet by a process of its own."""

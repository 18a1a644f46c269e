"""One SQL engine in this process, for `meridian-benches compare-queries`: a line of JSON in, a line of JSON out.

Times a query from the call to its whole result, and tells of the result how many values it has and their sum. Installs nothing.
"""

import json
import os
import sys
import time


class DuckDb:
    def __init__(self):
        import duckdb

        self.version = duckdb.__version__
        self.connection = duckdb.connect("cpu.duckdb")
        self.connection.execute("SET enable_progress_bar = false")

    def run(self, statement):
        self.connection.execute(statement)

    def ask(self, query, large):
        # Tuples are its shortest way to a small result, Arrow is to a large one.
        if large:
            return self.connection.sql(query).to_arrow_table()
        return self.connection.execute(query).fetchall()


class ClickHouse:
    def __init__(self):
        import chdb

        self.version = f"{chdb.__version__}, ClickHouse {chdb.engine_version}"
        self.connection = chdb.connect("cpu.chdb")

    def run(self, statement):
        self.connection.query(statement)

    def ask(self, query, large):
        return self.connection.query(query, "ArrowTable")


def digest(result):
    """The field values of a result: numbers beside times and texts in a tuple, columns named after a field in a table."""
    if isinstance(result, list):
        numbers = [value for row in result for value in row if isinstance(value, (int, float))]
        return {"values": len(numbers), "sum": sum(numbers)}
    fields = [result.column(name) for name in result.column_names if "usage" in name]
    sums = [pyarrow.compute.sum(field).as_py() or 0 for field in fields]
    return {"values": len(fields) * result.num_rows, "sum": sum(sums)}


def answer(engine, order):
    if "run" in order:
        engine.run(order["run"])
        return {}
    start = time.perf_counter()
    result = engine.ask(order["query"], order["large"])
    seconds = time.perf_counter() - start
    return {"seconds": seconds, **digest(result)}


def tell(reply):
    print(json.dumps(reply), flush=True, file=replies)


# What an engine prints, such as how far it is, must not come between the replies.
replies = os.fdopen(os.dup(1), "w")
os.dup2(2, 1)
os.chdir(sys.argv[2])
try:
    import pyarrow
    import pyarrow.compute

    engine = {"DuckDB": DuckDb, "chdb": ClickHouse}[sys.argv[1]]()
    tell({"version": engine.version})
except ImportError as error:
    tell({"missing": str(error)})
    sys.exit()
for line in sys.stdin:
    try:
        tell(answer(engine, json.loads(line)))
    except Exception as error:
        tell({"error": str(error)})

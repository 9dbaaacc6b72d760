"""Makes the Parquet files of parquet/: a column of text in each compression, and task rows. Needs `pip install pyarrow`.

    python test/golden/make-parquet.py
"""

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

FOLDER = Path(__file__).parent / "parquet"
TEXTS = pa.table({"id": [1, 2, 3], "text": ["The whale swam away.", "", "The treaty — naïve 中文 — was signed."]})
TASKS = pa.table({"context": ["The sea is", "Ice is"], "choices": [["wet", "dry"], ["hot", "cold"]], "label": [0, 1]})

if __name__ == "__main__":
    FOLDER.mkdir(exist_ok=True)
    for codec in ["snappy", "gzip", "brotli", "lz4"]:
        pq.write_table(TEXTS, FOLDER / f"{codec}.parquet", compression=codec)
    pq.write_table(TASKS, FOLDER / "task-rows.parquet")

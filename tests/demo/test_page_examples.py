"""The results page, word for word: its five requests as real programs, and its three responses."""

from __future__ import annotations

import io
import json
import re
import shutil
import subprocess
import sys
import zipfile

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

# The page's code examples, as they stand there.
EXAMPLES = r"""
  ```python Python - CSV Download theme={null}
  import requests

  response = requests.get(
      'https://api.sutro.sh/jobs/job_12345/results',
      headers={
          'Authorization': 'Key YOUR_SUTRO_API_KEY'
      },
      params={
          'result_format': 'csv',
          'include_inputs': True,
          'include_cumulative_logprobs': False
      }
  )

  # Save the zip file
  with open('results.zip', 'wb') as f:
      f.write(response.content)

  # Extract and read with pandas
  import zipfile
  import pandas as pd

  with zipfile.ZipFile('results.zip') as z:
      csv_filename = z.namelist()[0]
      with z.open(csv_filename) as csv_file:
      df = pd.read_csv(csv_file)
      print(df.head())
  ```

  ```python Python - Parquet Download theme={null}
  import requests
  import polars as pl

  response = requests.get(
      'https://api.sutro.sh/jobs/job_12345/results',
      headers={
          'Authorization': 'Key YOUR_SUTRO_API_KEY'
      },
      params={
          'result_format': 'parquet',
          'include_inputs': True
      }
  )

  # Save and read with pandas
  with open('results.parquet', 'wb') as f:
      f.write(response.content)

  df = pl.read_parquet('results.parquet')
  print(df.head())
  ```

  ```python Python - JSON Download theme={null}
  import requests

  response = requests.get(
      'https://api.sutro.sh/jobs/job_12345/results',
      headers={
          'Authorization': 'Key YOUR_SUTRO_API_KEY'
      },
      params={
          'result_format': 'json',
          'include_inputs': True,
          'include_cumulative_logprobs': False
      }
  )

  result = response.json()

  # Access outputs and inputs
  for i, (input_text, output_text) in enumerate(zip(result['inputs'], result['outputs'])):
      print(f"Input {i + 1}: {input_text}")
      print(f"Output {i + 1}: {output_text}")
      print("---")
  ```

  ```curl cURL - CSV Download theme={null}
  curl -X GET "https://api.sutro.sh/jobs/job_12345/results?result_format=csv&include_inputs=true" \
  -H "Authorization: Key YOUR_SUTRO_API_KEY" \
  -o results.zip
  ```

  ```curl cURL - JSON Download theme={null}
  curl -X GET "https://api.sutro.sh/jobs/job_12345/results?result_format=json&include_inputs=true" \
  -H "Authorization: Key YOUR_SUTRO_API_KEY"
  ```
"""

JSON_RESPONSE = """
  {
      "outputs": [
          "The capital of France is Paris.",
          "Quantum computing uses quantum mechanics principles to process information in ways that classical computers cannot..."
      ],
      "inputs": [
          "What is the capital of France?",
          "Explain quantum computing in simple terms"
      ],
      "cumulative_logprobs": [-0.5234, -1.2456]
  }
"""

CSV_RESPONSE = """
  inputs,job-abc123,cumulative_logprobs
  "What is the capital of France?","The capital of France is Paris.",-0.5234
  "Explain quantum computing in simple terms","Quantum computing uses quantum mechanics principles to process
  information in ways that classical computers cannot...",-1.2456
"""

STRUCTURED = r"""
{
  "outputs": [
    "{\"name\": \"John Doe\", \"age\": 30, \"email\": \"john@example.com\"}",
    "{\"name\": \"Jane Smith\", \"age\": 25, \"email\": \"jane@example.com\"}"
  ]
}
"""

REASONING = r"""
{
  "outputs": [
    "{\"content\": {\"name\": \"John Doe\", \"age\": 30}, \"reasoning_content\": \"First, I identified the name from the text...\"}",
    "{\"content\": {\"name\": \"Jane Smith\", \"age\": 25}, \"reasoning_content\": \"I analyzed the passage and extracted...\"}"
  ]
}
"""

PAGE = json.loads(JSON_RESPONSE)
CSV_TEXT = (
    CSV_RESPONSE.strip().replace("process\n  information", "process information").replace("\n  ", "\n") + "\n"
)


def example(title):
    """Take one example's code, indented as a program is."""
    code = re.search(rf"```\w+ {re.escape(title)} [^\n]*\n(.*?)\n  ```", EXAMPLES, re.DOTALL).group(1)
    return re.sub(r"^  ", "", code, flags=re.MULTILINE)


@pytest.fixture
def run(service, tmp_path):
    def start(command, code):
        code = code.replace("https://api.sutro.sh", service.url).replace(
            "YOUR_SUTRO_API_KEY", service.api_key
        )
        done = subprocess.run(
            [*command, code], cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    return start


def python(run, code):
    return run([sys.executable, "-X", "utf8", "-c"], code)


def test_there_are_five_examples():
    assert EXAMPLES.count("```python") == 3 and EXAMPLES.count("```curl") == 2


def test_python_csv(run, tmp_path):
    wrong = "    with z.open(csv_filename) as csv_file:\n    df = pd.read_csv(csv_file)\n    print(df.head())"
    right = (
        "    with z.open(csv_filename) as csv_file:\n        df = pd.read_csv(csv_file)\n    print(df.head())"
    )
    code = example("Python - CSV Download")
    assert wrong in code
    printed = python(run, code.replace(wrong, right))
    assert printed.split()[:2] == ["inputs", "job_12345"]
    assert re.search(
        r"^0 +What is the capital of France\? +The capital of France is Paris\.$", printed, re.MULTILINE
    )
    assert re.search(
        r"^1 +Explain quantum computing in simple terms +Quantum computing uses", printed, re.MULTILINE
    )
    with zipfile.ZipFile(tmp_path / "results.zip") as archive:
        assert archive.namelist() == ["job_12345.csv"]


def test_python_parquet(run, tmp_path):
    printed = python(run, example("Python - Parquet Download"))
    assert printed.startswith("shape: (2, 2)\n")
    assert re.search(r"inputs\W+job_12345", printed)
    assert re.search(r"What is the capital of France\?\W+The capital of France is Paris", printed)
    table = pq.read_table(tmp_path / "results.parquet").to_pydict()
    assert table == {"inputs": PAGE["inputs"], "job_12345": PAGE["outputs"]}


def test_python_json(run):
    printed = python(run, example("Python - JSON Download"))
    pairs = enumerate(zip(PAGE["inputs"], PAGE["outputs"], strict=True), start=1)
    assert printed == "".join(f"Input {n}: {given}\nOutput {n}: {got}\n---\n" for n, (given, got) in pairs)


needs_curl = pytest.mark.skipif(
    not (shutil.which("curl") and shutil.which("sh")), reason="needs curl and a shell"
)


@needs_curl
def test_curl_csv(run, tmp_path):
    assert run(["sh", "-c"], example("cURL - CSV Download")) == ""
    with zipfile.ZipFile(tmp_path / "results.zip") as archive:
        text = archive.read(archive.namelist()[0]).decode()
    assert text == re.sub(",-[0-9.]+$", "", CSV_TEXT, flags=re.MULTILINE).replace(
        "job-abc123,cumulative_logprobs", "job_12345"
    )


@needs_curl
def test_curl_json(run):
    printed = run(["sh", "-c"], example("cURL - JSON Download"))
    assert json.loads(printed) == {"outputs": PAGE["outputs"], "inputs": PAGE["inputs"]}


ALL = {"include_inputs": True, "include_cumulative_logprobs": True}


@pytest.mark.parametrize("job_id", ["job_12345", "job-abc123"])
def test_the_json_response(client, job_id):
    got = client.get(f"/jobs/{job_id}/results", result_format="json", **ALL).json()
    assert got == PAGE and list(got) == list(PAGE)


def test_the_csv_response_to_the_letter(client):
    reply = client.get("/jobs/job-abc123/results", result_format="csv", **ALL)
    with zipfile.ZipFile(io.BytesIO(reply.content)) as archive:
        assert archive.read("job-abc123.csv").decode() == CSV_TEXT


def test_the_parquet_response(client):
    reply = client.get("/jobs/job-abc123/results", result_format="parquet", **ALL)
    file = pq.ParquetFile(io.BytesIO(reply.content))
    assert file.schema_arrow == pa.schema(
        [("inputs", pa.string()), ("job-abc123", pa.string()), ("cumulative_logprobs", pa.float64())]
    )
    assert file.read().to_pydict() == {
        "inputs": PAGE["inputs"], "job-abc123": PAGE["outputs"], "cumulative_logprobs": [-0.5234, -1.2456]
    }  # fmt: skip
    assert file.metadata.row_group(0).column(0).compression == "ZSTD"


@pytest.mark.parametrize(
    ("job_id", "text"), [("job-page-structured", STRUCTURED), ("job-page-reasoning", REASONING)]
)
def test_the_structured_examples(client, job_id, text):
    assert client.get(f"/jobs/{job_id}/results", result_format="json").json() == json.loads(text)

# `make demo` and `make test` do everything that a fresh machine needs; the rest is for working on karaffe.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check -q
WORKERS ?= 2
SOURCES := pyproject.toml CMakeLists.txt constraints.txt $(wildcard csrc/*)

NETWORKS := .venv-conformance

.PHONY: demo test test-all gpu system-packages check lint types layers docs bench native sanitize clean test-networks conformance-env

demo: $(VENV)/demo-installed  ## compare methods on one photograph, enlarge another, print where the pictures are
	$(BIN)/karaffe compare examples/pictures/chelsea.png --scale 4 --models bicubic,lanczos,sharp -o demo/compare --overwrite
	$(BIN)/karaffe upscale examples/pictures/coffee.png -o demo/coffee_x4.png --scale 4 --overwrite
	@echo
	@echo "Compared:  demo/compare/ (open the .html in a browser; the .png is the strip)"
	@echo "Enlarged:  demo/coffee_x4.png"

test: system-packages $(VENV)/test-installed  ## the test suite
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n $(WORKERS) -m "not slow"
	$(MAKE) test-networks

test-networks: $(NETWORKS)/installed  ## surgery on networks that nobody here wrote, and the integrations
	PYTHONPATH=src OMP_NUM_THREADS=1 $(NETWORKS)/bin/python -m pytest -n $(WORKERS) -m "not slow" \
		tests/surgery/test_networks.py tests/surgery/test_examples.py tests/integrations

test-all: system-packages $(VENV)/test-installed $(NETWORKS)/installed  ## the slow tests too
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n $(WORKERS)
	PYTHONPATH=src OMP_NUM_THREADS=1 $(NETWORKS)/bin/python -m pytest -n $(WORKERS) \
		tests/surgery/test_networks.py tests/surgery/test_examples.py tests/integrations

# The tests of opinion studies drive a real browser and a real PostgreSQL; where these cannot be had, they skip and say so.
system-packages:  ## Chromium and PostgreSQL, where they are missing and the system's packages can be installed
	@if [ "$$(id -u)" = 0 ] && command -v apt-get > /dev/null && ! { command -v chromium && ls /usr/lib/postgresql/*/bin/initdb; } > /dev/null 2>&1; then \
		apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends chromium postgresql > /dev/null \
		|| echo "chromium and postgresql could not be installed: their tests will be skipped"; fi

check: lint types layers docs  ## everything CI asks beside the tests

lint: $(VENV)/test-installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(VENV)/test-installed
	$(BIN)/mypy

layers: $(VENV)/test-installed
	$(BIN)/lint-imports

docs: $(VENV)/test-installed  ## the documentation, strictly, into site/
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict -q

bench: $(VENV)/test-installed  ## the benchmarks of the operators and the module; leave the machine alone meanwhile
	$(BIN)/python benchmarks/reassemble.py
	$(BIN)/python benchmarks/carafe_module.py

# In an environment of one's own whose torch sees a GPU and that has triton, pytest-xdist, hypothesis and numpy.
GPU_WORKERS ?= 12
gpu:  ## on a machine with a GPU: the benchmark (150 s; MMCV=file for mmcv's kernel), then the operators' tests there
	PYTHONPATH=src $(PYTHON) -W ignore benchmarks/gpu.py --workers $(GPU_WORKERS) $(if $(MMCV),--mmcv $(MMCV))
	PYTHONPATH=src KARAFFE_TEST_DEVICE=cuda KARAFFE_TRITON_TUNE=0 $(PYTHON) -m pytest -n $(GPU_WORKERS) \
		-W "ignore:karaffe computes with its slower:RuntimeWarning" -m "not slow" tests/ops

native: $(VENV)/test-installed  ## rebuild the C++ kernels in place
	cmake -S . -B build -G Ninja -DPython_EXECUTABLE=$(abspath $(BIN)/python)
	cmake --build build

SANITIZED := build/sanitize
sanitize: $(VENV)/test-installed  ## the native operators' tests under the address and undefined-behaviour sanitizers
	cmake -S . -B $(SANITIZED) -G Ninja -DKARAFFE_SANITIZE=ON "-DKARAFFE_SETS=portable;avx2" \
		-DCMAKE_LIBRARY_OUTPUT_DIRECTORY=$(abspath $(SANITIZED)) -DPython_EXECUTABLE=$(abspath $(BIN)/python)
	cmake --build $(SANITIZED)
	KARAFFE_LIBRARY=$(abspath $(SANITIZED))/libkaraffe_cpu.so ASAN_OPTIONS=detect_leaks=0 OMP_NUM_THREADS=1 \
		LD_PRELOAD=$$(g++ -print-file-name=libasan.so) \
		$(BIN)/python -m pytest tests/ops/test_native.py tests/ops/test_native_attention.py -k "not in_memory"

$(BIN)/python:
	$(PYTHON) -m venv $(VENV)
	$(PIP) install --upgrade pip

# torch first, so that the kernels are compiled against it and it is not fetched a second time for the build
$(VENV)/build-tools: constraints.txt | $(BIN)/python
	$(PIP) install -c constraints.txt torch numpy "scikit-build-core>=0.10" "cmake>=3.25" "ninja>=1.11"
	touch $@

$(VENV)/demo-installed: $(VENV)/build-tools $(SOURCES) $(shell find src -name '*.py')
	$(PIP) install -c constraints.txt --no-build-isolation ".[imaging]"
	touch $@

$(VENV)/test-installed: $(VENV)/build-tools $(SOURCES)
	$(PIP) install -c constraints.txt --no-build-isolation -e ".[dev,docs]"
	touch $@

conformance-env: $(NETWORKS)/installed  ## the environment of test-networks; torchvision stays out of the main one

$(NETWORKS)/installed: constraints.txt constraints-conformance.txt
	$(PYTHON) -m venv $(NETWORKS)
	$(NETWORKS)/bin/python -m pip --disable-pip-version-check -q install -c constraints.txt -c constraints-conformance.txt \
		torch torchvision segmentation_models_pytorch timm transformers monai einops diffusers ultralytics mmengine \
		huggingface_hub pytest pytest-xdist hypothesis jaxtyping safetensors onnx onnxscript onnxruntime typer rich
	touch $@

clean:
	rm -rf build dist site demo src/karaffe/_native .pytest_cache .mypy_cache .ruff_cache

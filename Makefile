# unshrink: `make demo` shows what it does, `make test` tests it; each makes the environment that it needs.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
export UNSHRINK_DATA ?= ../shared/data
SETS ?= Set5 Set14 BSD100 Urban100quarter DIV2Kcrop50odd Kodak12odd Screens
CODEC_SETS ?= Set5 Set14 Kodak12odd
LPIPS ?= $(UNSHRINK_DATA)/perceptual
MEASURED = $(if $(LPIPS),--lpips $(LPIPS)) --overwrite

.PHONY: demo test lint types docs check eval eval-weights eval-codecs eval-older pages
.PHONY: eval-sites eval-invertibility eval-flat eval-latent eval-guidance bench effort speedrun clean

demo: $(VENV)/base
	mkdir -p demo
	$(BIN)/unshrink downscale examples/rocket.jpg -o demo/rocket_small.png --overwrite --verify
	$(BIN)/unshrink upscale demo/rocket_small.png -o demo/rocket_restored.png --overwrite
	$(BIN)/unshrink compare examples/astronaut.png -s 2 -o demo/astronaut_x2.png --overwrite
	$(BIN)/unshrink compare examples/astronaut.png -s 4 -o demo/astronaut_x4.png --overwrite
	@echo "Look at the pictures in demo/"

test: $(VENV)/dev
	$(BIN)/python -m pytest -n 2 --dist loadgroup

lint: $(VENV)/dev
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/clang-format --dry-run --Werror kernels/src/*

types: $(VENV)/dev
	$(BIN)/mypy

# The documentation site, into site/: notebooks are run, and a link that leads nowhere is an error.
docs: $(VENV)/dev
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet

check: lint types docs test

# Every measured figure of the weights and of the older ways, and the pages that show them: docs/evaluation.md says how
# long each part takes.  After new weights, all but eval-older; of one scale: MODELS=irn-x2 CODECS="'*-irn-x2-*'".
eval: eval-weights eval-codecs eval-older eval-sites eval-invertibility eval-flat eval-latent eval-guidance pages

eval-weights: $(VENV)/dev
	$(BIN)/unshrink eval $(MODELS) --data $(SETS) $(MEASURED) --precision float32

eval-codecs: CODECS ?= '*-irn-*-png' '*-irn-*-webp'
eval-codecs: $(VENV)/dev
	$(BIN)/python benchmarks/baselines.py $(CODECS) --data $(CODEC_SETS) $(MEASURED)

eval-older: WAYS ?= 'bi*' 'lanczos-*' 'haar-*' 'rlfn-*' 'bsrn-*'
eval-older: $(VENV)/dev
	$(BIN)/python benchmarks/baselines.py $(WAYS) --data $(SETS) $(MEASURED)

eval-invertibility: $(VENV)/dev
	$(BIN)/python benchmarks/baselines.py 'short-*' --data Set5 $(MEASURED)

eval-flat: $(VENV)/dev
	$(BIN)/python benchmarks/flat.py $(MODELS)

# The installed weights restore with z = 0; those that draw it are trained for this study alone, for half an hour.
GAUSSIAN := runs/irn-x2-gaussian/irn-x2-gaussian.safetensors
$(GAUSSIAN): configs/irn-x2-gaussian.toml | $(VENV)/dev
	rm -rf $(@D)
	$(BIN)/unshrink train configs/irn-x2-gaussian.toml

eval-latent: $(VENV)/dev $(if $(MODELS),,$(GAUSSIAN))
	$(BIN)/python benchmarks/latent.py $(MODELS)

eval-guidance: $(VENV)/dev
	rm -rf runs/guide-x2
	$(BIN)/python tools/ablate.py results/ablations/guide-x2.toml

# What comes back from sites, and of pictures that are encoded again and again; sites of the same weights are kept.
eval-sites: $(VENV)/dev
	$(BIN)/python benchmarks/sites.py
	$(BIN)/python benchmarks/generations.py $(or $(MODELS),bicubic-x2 irn-x2 bicubic-x4 irn-x4)

pages: $(VENV)/dev
	$(BIN)/python benchmarks/crops.py
	$(BIN)/python benchmarks/scales.py
	$(BIN)/python benchmarks/story.py
	$(BIN)/python benchmarks/subjects.py $(MODELS)
	$(BIN)/python docs/generate_figures.py
	$(BIN)/unshrink report -o report.html --overwrite

# Over an hour where nothing else runs; BENCH=--quick takes ten minutes.
bench: $(VENV)/dev
	$(BIN)/python benchmarks/backends.py $(BENCH)
	$(BIN)/python docs/generate_figures.py

effort: $(VENV)/dev
	$(BIN)/python benchmarks/effort.py
	$(BIN)/python docs/generate_figures.py

# The kernels need a C++ compiler; without them, OpenVINO runs the networks, in twice the time.
$(VENV)/base: pyproject.toml $(wildcard kernels/*.toml kernels/CMakeLists.txt kernels/*/*)
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e .
	$(BIN)/python -m pip install --quiet --disable-pip-version-check ./kernels || echo "going on without kernels/"
	touch $@

# torch first and pinned: on Linux any other version brings gigabytes of CUDA where only a CPU is needed.
$(VENV)/dev: $(VENV)/base
	$(BIN)/python -m pip install --quiet --disable-pip-version-check torch==2.13.0
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[dev]'
	touch $@

# The recipe of irn-x2.toml in ten minutes on two cores, loading and the last validation included: so recipes compare.
speedrun: $(VENV)/dev
	rm -rf runs/speedrun-x2
	$(BIN)/torchrun --nproc-per-node 2 -m unshrink train configs/irn-x2.toml --max-time 10 \
		--set run.name=speedrun-x2 --set run.folder=runs/speedrun-x2
	mkdir -p results/speedrun-x2 && cp runs/speedrun-x2/log.jsonl results/speedrun-x2/training.jsonl
	$(BIN)/python docs/generate_figures.py

clean:
	rm -rf $(VENV) demo runs site

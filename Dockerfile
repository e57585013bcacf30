# distill on a CPU, with evaluation and export. From the project's root:
#   docker build -t distill .
#   docker run --rm -v "$PWD:/work" -v distill-cache:/cache distill run mine.yaml
# This file has not been built by the project's tests: they have no container engine.
FROM python:3.11-slim

ENV PIP_NO_CACHE_DIR=1 \
    DISTILL_CACHE=/cache/distill \
    HF_HOME=/cache/huggingface

# torch first, and its CPU build: the registry's own brings the libraries of a GPU.
RUN pip install --index-url https://download.pytorch.org/whl/cpu torch==2.13.0

WORKDIR /opt/distill
COPY pyproject.toml README.md LICENSE ./
COPY recipes ./recipes
COPY distill ./distill
RUN pip install '.[cpu,eval,export,documents]'

RUN useradd --create-home distill && mkdir -p /work /cache && chown distill /work /cache
USER distill
WORKDIR /work
VOLUME ["/cache"]
ENTRYPOINT ["distill"]
CMD ["--help"]

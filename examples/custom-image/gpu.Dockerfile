# The same on a GPU: a worker built on PyTorch's own image, so that torch and CUDA are there already.
#   make image BASE_IMAGE=pytorch/pytorch:2.9.1-cuda12.8-cudnn9-runtime IMAGE_TAG=gpu
#   docker build --file examples/custom-image/gpu.Dockerfile --tag my-gpu-task examples/custom-image
#   docker run --rm --gpus all -e RUNQY_SERVER_URL=… -e RUNQY_API_KEY=… -e RUNQY_QUEUES=inference my-gpu-task
ARG BASE_IMAGE=runqy-appliance:gpu
FROM ${BASE_IMAGE}
USER root

COPY requirements.txt /app/
# torch is inherited: the image is not made where requirements would replace it by another.
RUN before=$(python3 -c 'import torch; print(torch.__version__)') \
    && uv pip install --system --break-system-packages --no-cache --compile-bytecode --requirement /app/requirements.txt \
    && test "$before" = "$(python3 -c 'import torch; print(torch.__version__)')"

COPY main.py /app/
# What the NVIDIA runtime is to hand in: the driver's library and nvidia-smi, from which the worker reads its load.
ENV RUNQY_DEPLOYMENT_BAKED=/app \
    NVIDIA_VISIBLE_DEVICES=all \
    NVIDIA_DRIVER_CAPABILITIES=compute,utility
USER 10001:0

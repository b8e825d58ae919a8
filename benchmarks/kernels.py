"""The kernels that `make bench` measures, as `tvmc bench` names them."""

from __future__ import annotations

LAYOUTS = ("nn", "tn", "nt")
WAYS = ("pack", "repack", "unpack")
STEPS = ("forward", "data-grad", "weight-grad")


def _matmuls() -> list[str]:
    kernels = []
    for layout in LAYOUTS:
        for shape in ("m=64,n=64,k=64,source=l1", "m=32,n=32,k=32,source=l1"):
            kernels.append(f"matmul:{shape},layout={layout}")
        for shape in ("m=64,n=64,k=64", "m=50,n=37,k=61", "m=256,n=256,k=256"):
            kernels.append(f"matmul:{shape},layout={layout}")
    return kernels


def _convolutions() -> list[str]:
    shapes = [
        "conv2d:cin=16,cout=16,h=16,w=16,pad=1",
        "conv2d:cin=16,cout=16,h=32,w=32,pad=1,stride=2",
        "conv2d:cin=64,cout=64,h=8,w=8,pad=1",
        "conv2d:cin=64,cout=64,h=16,w=16,pad=1,stride=2",
        "conv2d:cin=64,cout=64,h=16,w=16,kernel=1",
        "depthwise:channels=64,h=16,w=16,pad=1",
        "depthwise:channels=64,h=16,w=16,pad=1,stride=2",
        "depthwise:channels=64,h=16,w=16,pad=1,stride=2,batch=8",
    ]
    return [f"{shape},step={step}" for shape in shapes for step in STEPS]


KERNELS = [
    *_matmuls(),
    *_convolutions(),
    *(f"linear:inputs=256,outputs=64,step={step}" for step in STEPS),
    *(f"linear:inputs=256,outputs=64,batch=8,step={step}" for step in STEPS),
    "relu:elements=65536",
    "relu:elements=65536,step=data-grad",
    "add:elements=65536",
    "sgd:elements=65536,momentum=yes",
    *(
        f"{kernel}:channels=16,h=32,w=32,batch=4,step={step}"
        for kernel in ("batch_norm", "max_pool", "avg_pool", "mean")
        for step in ("forward", "data-grad")
    ),
    *(f"batch_norm:channels=4,h=64,w=64,batch=6,step={step}" for step in STEPS[:2]),
    "max_pool:channels=16,h=32,w=32,batch=4,window=3,pad=1",
    "max_pool:channels=16,h=32,w=32,batch=4,window=3,pad=1,step=data-grad",
    "bias_gradient:channels=16,h=32,w=32,batch=4",
    "cross_entropy:classes=10,batch=8",
    "cross_entropy:classes=10,batch=8,step=data-grad",
    "cross_entropy:classes=10,batch=8,step=training",
    "matmul:m=64,n=64,k=64,layout=nt,dtype=int8,source=l1",
    "matmul:m=64,n=64,k=64,layout=nn,dtype=int8,source=l1",
    "matmul:m=64,n=64,k=64,layout=tn,dtype=int8,source=l1",
    *(f"matmul:m=256,n=256,k=256,layout={layout},dtype=int8" for layout in ("nt", "nn", "tn")),
    "matmul:m=50,n=37,k=61,layout=nt,dtype=int8",
    "matmul:m=64,n=64,k=64,layout=nn,batch=4,dtype=int8",
    "conv2d:cin=64,cout=64,h=16,w=16,kernel=1,dtype=int8",
    "conv2d:cin=16,cout=16,h=32,w=32,pad=1,dtype=int8",
    "conv2d:cin=64,cout=64,h=8,w=8,pad=1,dtype=int8",
    "conv2d:cin=3,cout=8,h=96,w=96,pad=1,stride=2,dtype=int8",
    "conv2d:cin=16,cout=16,h=32,w=32,pad=2,dilation=2,dtype=int8",
    "conv2d:cin=64,cout=64,h=16,w=16,pad=1,groups=4,dtype=int8",
    "conv2d:cin=512,cout=64,h=7,w=7,pad=1,dtype=int8",
    "depthwise:channels=64,h=16,w=16,pad=1,dtype=int8",
    "depthwise:channels=8,h=48,w=48,pad=1,dtype=int8",
    "depthwise:channels=16,h=48,w=48,pad=1,stride=2,dtype=int8",
    "depthwise:channels=32,h=16,w=16,kernel=5,pad=2,dtype=int8",
    "depthwise:channels=32,h=16,w=16,kernel=5,pad=2,stride=2,dtype=int8",
    "depthwise:channels=32,h=16,w=16,kernel=7,pad=3,dtype=int8",
    "depthwise:channels=32,h=32,w=32,pad=2,dilation=2,dtype=int8",
    "add:elements=16384,dtype=int8,source=l1",
    *(
        f"add:elements=65536,dtype=int8,rounding={rounding}"
        for rounding in ("half-up", "half-even", "tflite")
    ),
    "max_pool:channels=16,h=32,w=32,dtype=int8",
    "max_pool:channels=16,h=32,w=32,window=3,stride=1,pad=1,dtype=int8",
    "avg_pool:channels=16,h=32,w=32,dtype=int8",
    "mean:channels=64,h=8,w=8,dtype=int8",
    *(f"latents_{way}:elements=8192,bits={bits},source=l1" for way in WAYS for bits in (8, 7, 6)),
    *(f"latents_{way}:elements=8192,bits={bits},floats=l1" for way in WAYS[::2] for bits in (8, 7, 6)),
    *(f"latents_{way}:elements=65536,bits={bits}" for way in WAYS for bits in (8, 7, 6)),
    *(f"latents_gather:elements=8192,samples=4,bits={bits}" for bits in (8, 7, 6)),
    *(f"matmul:m=64,n=64,k=64,layout={layout},dtype=float16,source=l1" for layout in LAYOUTS),
    *(f"matmul:m=128,n=128,k=128,layout={layout},dtype=float16" for layout in LAYOUTS),
]

SEARCHED = [
    "matmul:m=64,n=48,k=40",
    "matmul:m=50,n=37,k=61,layout=tn",
    "conv2d:cin=16,cout=16,h=12,w=12,pad=1",
    "conv2d:cin=16,cout=16,h=12,w=12,pad=1,step=weight-grad",
    "conv2d:cin=3,cout=8,h=96,w=96,pad=1,stride=2,step=weight-grad",
]
"""Shapes whose tiles are searched, beside the tiles that the analytic model picks."""

SEARCHED_IN_FULL = ["linear:inputs=32,outputs=8"]
"""Shapes small enough to measure every setting that there is."""

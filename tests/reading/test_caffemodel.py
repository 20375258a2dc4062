"""Caffe's weights, in files that protobuf writes from the published field numbers, both of ``layer`` and ``layers``."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from grpc_tools import protoc
from torch import Tensor

from analysis.errors import AnalysisError
from analysis.reading import read_file

# Names and numbers of src/caffe/proto/caffe.proto (BVLC/caffe), as far as a file of weights has them.
PROTO = """
syntax = "proto2";
package caffe;
message BlobShape { repeated int64 dim = 1 [packed = true]; }
message BlobProto {
  optional BlobShape shape = 7;
  repeated float data = 5 [packed = PACKED];
  repeated float diff = 6 [packed = true];
  repeated double double_data = 8 [packed = true];
  optional int64 num = 1;
  optional int64 channels = 2;
  optional int64 height = 3;
  optional int64 width = 4;
}
message ParamSpec { optional string name = 1; optional float lr_mult = 3; }
message LayerParameter {
  optional string name = 1;
  optional string type = 2;
  repeated string bottom = 3;
  repeated string top = 4;
  repeated float loss_weight = 5;
  repeated ParamSpec param = 6;
  repeated BlobProto blobs = 7;
  optional int32 phase = 10;
}
message V1LayerParameter {
  repeated string bottom = 2;
  repeated string top = 3;
  optional string name = 4;
  optional int32 type = 5;
  repeated BlobProto blobs = 6;
  repeated float blobs_lr = 7;
}
message NetParameter {
  optional string name = 1;
  repeated V1LayerParameter layers = 2;
  repeated string input = 3;
  repeated int64 input_dim = 4;
  optional bool force_backward = 5;
  repeated LayerParameter layer = 100;
}
"""
Net = Callable[[], Any]


def compiled(folder: Path, packed: bool = True) -> Net:
    """The class of NetParameter."""
    (folder / "caffe.proto").write_text(PROTO.replace("PACKED", str(packed).lower()))
    assert protoc.main(["protoc", f"-I{folder}", f"--descriptor_set_out={folder}/set", "caffe.proto"]) == 0
    files, pool = descriptor_pb2.FileDescriptorSet(), descriptor_pool.DescriptorPool()
    files.ParseFromString((folder / "set").read_bytes())
    for file in files.file:
        pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("caffe.NetParameter"))


@pytest.fixture(scope="module")
def net(tmp_path_factory: pytest.TempPathFactory) -> Net:
    return compiled(tmp_path_factory.mktemp("proto"))


def attention_net() -> dict[str, Tensor]:
    """Layers of the kinds in DeepLab's attention net, narrower."""
    shapes = {"conv1_1": (8, 3, 3, 3), "fc7": (16, 16, 1, 1), "fc8_voc12": (21, 16, 1, 1), "att_fc": (3, 8, 1, 1)}
    tensors = {}
    for layer, shape in shapes.items():
        tensors[f"{layer}.weight"], tensors[f"{layer}.bias"] = torch.randn(shape), torch.randn(shape[0])
    return tensors


def new_format(net: Any, tensors: dict[str, Tensor]) -> Any:
    net.name = "DeepLab"
    net.input.append("data")
    net.layer.add(name="data", type="ImageSegData", top=["data", "label"], phase=0)
    for weight in (name for name in tensors if name.endswith("weight")):
        layer = net.layer.add(name=weight.removesuffix(".weight"), type="Convolution", bottom=["data"])
        layer.param.add(name="shared", lr_mult=10.0)
        for tensor in (tensors[weight], tensors[weight.replace("weight", "bias")]):
            blob = layer.blobs.add(data=tensor.flatten().tolist(), diff=[0.5])
            blob.shape.dim.extend(tensor.shape)
    return net


def old_format(net: Any, tensors: dict[str, Tensor]) -> Any:
    net.name = "DeepLab"
    net.input_dim.extend([1, 3, 321, 321])
    for weight in (name for name in tensors if name.endswith("weight")):
        layer = net.layers.add(name=weight.removesuffix(".weight"), type=4, bottom=["data"], blobs_lr=[1, 2])
        for tensor in (tensors[weight], tensors[weight.replace("weight", "bias")]):
            n, c, h, w = tensor.shape if tensor.dim() == 4 else (1, 1, 1, *tensor.shape)
            layer.blobs.add(num=n, channels=c, height=h, width=w, data=tensor.flatten().tolist())
    return net


def write(net: Any, path: Path) -> Path:
    path.write_bytes(net.SerializeToString())
    return path


def refusal(path: Path) -> str:
    with pytest.raises(AnalysisError) as error:
        read_file(path)
    assert str(error.value).isprintable()
    return str(error.value)


@pytest.mark.parametrize("fill", [new_format, old_format], ids=["layer", "layers"])
def test_weights_and_biases_of_both_formats(tmp_path: Path, net: Net, fill: Callable[..., Any]) -> None:
    want = attention_net()
    stored = read_file(write(fill(net(), want), tmp_path / "deeplab.caffemodel"))
    assert (stored.container, stored.inside, stored.metadata) == ("caffemodel", "", {"name": "DeepLab"})
    assert list(stored.tensors) == list(want)
    assert all(torch.equal(stored.tensors[name], want[name]) for name in want)


def test_double_weights_and_further_blobs(tmp_path: Path, net: Net) -> None:
    proto, statistics = net(), [torch.randn(4), torch.randn(4).abs(), torch.tensor(999.0)]  # as of a BatchNorm layer
    layer = proto.layer.add(name="bn")
    for tensor in statistics:
        blob = layer.blobs.add(double_data=tensor.flatten().tolist())
        blob.shape.dim.extend(tensor.shape)
    tensors = read_file(write(proto, tmp_path / "a")).tensors
    assert list(tensors) == ["bn.weight", "bn.bias", "bn.2"]
    for found, want in zip(tensors.values(), statistics, strict=True):
        assert found.dtype == torch.float64 and torch.equal(found.float(), want)


def test_unpacked_weights(tmp_path: Path) -> None:
    """What a program writes that declares the field without ``packed``; every protobuf reader takes both."""
    want = attention_net()
    stored = read_file(write(new_format(compiled(tmp_path, packed=False)(), want), tmp_path / "a"))
    assert all(torch.equal(stored.tensors[name], want[name]) for name in want)


def test_damaged_nets_are_told(tmp_path: Path, net: Net) -> None:
    path = write(new_format(net(), attention_net()), tmp_path / "a")
    raw = path.read_bytes()
    path.write_bytes(raw[:-10])
    assert "not a sound .caffemodel near byte" in refusal(path)
    short = new_format(net(), attention_net())
    del short.layer[2].blobs[0].data[-1]
    assert "blob 'fc7.weight' of shape [16, 16, 1, 1] has 1,020 bytes" in refusal(write(short, path))
    twice = old_format(new_format(net(), attention_net()), attention_net())
    assert "'conv1_1.weight' is there twice" in refusal(write(twice, path))
    empty = net()
    empty.name = "DeepLab"
    empty.layer.add(name="conv1")
    assert "holds no tensors" in refusal(write(empty, path))

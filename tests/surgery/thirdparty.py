"""Networks that nobody here wrote, small and with random weights: ``NETWORKS[name]()`` gives one with two inputs.

Sizes are the smallest that each network takes, so that the whole runs on two cores; nothing is downloaded.
"""

from __future__ import annotations

import functools
import os
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn

os.environ |= {"HF_HUB_OFFLINE": "1", "YOLO_OFFLINE": "1", "YOLO_AUTOINSTALL": "0", "NO_ALBUMENTATIONS_UPDATE": "1"}


@dataclass
class Case:
    """A network, an example, and one of another size (the same where the network has one size only)."""

    model: nn.Module
    args: tuple[Any, ...] = ()
    kwargs: dict[str, Any] = field(default_factory=dict)
    other_args: tuple[Any, ...] = ()
    other_kwargs: dict[str, Any] = field(default_factory=dict)


NETWORKS: dict[str, Callable[[], Case]] = {}
LIBRARY: dict[str, str] = {}


def network(name: str, library: str) -> Callable[[Callable[[], Case]], Callable[[], Case]]:
    def enter(build: Callable[[], Case]) -> Callable[[], Case]:
        NETWORKS[name], LIBRARY[name] = build, library
        return build

    return enter


def image(size: int, channels: int = 3, batch: int = 2, dims: int = 2) -> Tensor:
    return torch.randn(batch, channels, *[size] * dims)


def images(model: nn.Module, size: int, other: int, channels: int = 3, dims: int = 2) -> Case:
    batch = 2 if dims == 2 else 1
    return Case(model, (image(size, channels, batch, dims),), {}, (image(other, channels, batch, dims),), {})


def pixels(model: nn.Module, size: int, other: int, channels: int = 3) -> Case:
    return Case(model, (), {"pixel_values": image(size, channels)}, (), {"pixel_values": image(other, channels)})


@functools.cache
def define_torchvision_operators() -> torch.library.Library:
    """torchvision's compiled operators, which a CPU build of torch may not match: their schemas are all we need."""
    library = torch.library.Library("torchvision", "DEF")
    align = "(Tensor input, Tensor rois, float spatial_scale, int pooled_height, int pooled_width, "
    for name, schema in (
        ("nms", "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor"),
        ("roi_align", align + "int sampling_ratio, bool aligned) -> Tensor"),
    ):
        for form in (name, f"q{name}"):
            library.define(form + schema)
    return library


def _smp(decoder: str, size: int, other: int, **options: Any) -> Callable[[], Case]:
    def build() -> Case:
        import segmentation_models_pytorch as smp

        chosen = {"encoder_name": "resnet18", "encoder_weights": None, "classes": 5, **options}
        return images(getattr(smp, decoder)(**chosen), size, other)

    return build


for _name, _size, _other, _options in (
    ("Unet", 64, 96, {}),
    ("UnetPlusPlus", 64, 96, {}),
    ("FPN", 64, 96, {}),
    ("PAN", 128, 256, {}),
    ("DeepLabV3", 64, 96, {}),
    ("DeepLabV3Plus", 64, 96, {}),
    ("Linknet", 64, 96, {}),
    ("MAnet", 64, 96, {}),
    ("UPerNet", 64, 96, {}),
    ("Segformer", 64, 96, {}),
    ("PSPNet", 96, 128, {}),
    ("DPT", 224, 224, {"encoder_name": "tu-vit_tiny_patch16_224"}),
):
    network(f"smp.{_name}", "segmentation_models_pytorch")(_smp(_name, _size, _other, **_options))


def _torchvision(name: str, **options: Any) -> Callable[[], Case]:
    def build() -> Case:
        from torchvision.models import segmentation

        model = getattr(segmentation, name)(weights=None, weights_backbone=None, num_classes=5, **options)
        return images(model, 64, 97)

    return build


network("torchvision.fcn_resnet50", "torchvision")(_torchvision("fcn_resnet50", aux_loss=True))
network("torchvision.deeplabv3_resnet50", "torchvision")(_torchvision("deeplabv3_resnet50"))
network("torchvision.lraspp", "torchvision")(_torchvision("lraspp_mobilenet_v3_large"))


@network("torchvision.resnet18_fpn", "torchvision")
def _() -> Case:
    from torchvision.models.detection.backbone_utils import resnet_fpn_backbone

    return images(resnet_fpn_backbone(backbone_name="resnet18", weights=None, trainable_layers=5), 64, 97)


@network("torchvision.raft_small", "torchvision")
def _() -> Case:
    from torchvision.models.optical_flow import raft_small

    model = raft_small(weights=None)
    return Case(
        model,
        (image(128), image(128)),
        {"num_flow_updates": 2},
        (image(136), image(136)),
        {"num_flow_updates": 2},
    )


@network("timm.hrnet_w18_small", "timm")
def _() -> Case:
    import timm

    return images(timm.create_model("hrnet_w18_small", pretrained=False, features_only=True), 64, 96)


class _FeaturesWithPyramid(nn.Module):
    """timm's features under torchvision's feature pyramid, as users combine them."""

    def __init__(self) -> None:
        super().__init__()
        import timm
        from torchvision.ops import FeaturePyramidNetwork

        self.body = timm.create_model("resnet10t", pretrained=False, features_only=True)
        self.neck = FeaturePyramidNetwork(self.body.feature_info.channels()[1:], 32)

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        maps = self.body(x)[1:]
        return self.neck({str(i): m for i, m in enumerate(maps)})


@network("timm.features + FPN", "timm")
def _() -> Case:
    return images(_FeaturesWithPyramid(), 64, 97)


def _transformers(name: str) -> Callable[[Callable[[Any], Case]], Callable[[Any], Case]]:
    def enter(make: Callable[[Any], Case]) -> Callable[[Any], Case]:
        def build() -> Case:
            import transformers

            transformers.logging.set_verbosity_error()
            return make(transformers)

        network(f"transformers.{name}", "transformers")(build)
        return make

    return enter


STAGES = ["stage1", "stage2", "stage3", "stage4"]


def _swin(t: Any) -> Any:
    return t.SwinConfig(
        embed_dim=24, depths=[1, 1, 1, 1], num_heads=[1, 2, 2, 2], window_size=4, image_size=64, out_features=STAGES
    )


VIT = {
    "hidden_size": 32,
    "num_hidden_layers": 4,
    "num_attention_heads": 2,
    "intermediate_size": 64,
    "image_size": 64,
    "patch_size": 16,
}
NECK = {"neck_hidden_sizes": [8, 16, 32, 32], "fusion_hidden_size": 16}


@_transformers("SegFormer")
def _(t: Any) -> Case:
    return pixels(t.SegformerForSemanticSegmentation(t.SegformerConfig(num_labels=5)), 64, 96)


@_transformers("UperNet")
def _(t: Any) -> Case:
    config = t.UperNetConfig(
        backbone_config=_swin(t), hidden_size=32, num_labels=5, auxiliary_in_channels=96, auxiliary_channels=16
    )
    return pixels(t.UperNetForSemanticSegmentation(config), 64, 96)


@_transformers("Mask2Former")
def _(t: Any) -> Case:
    config = t.Mask2FormerConfig(
        backbone_config=_swin(t),
        hidden_dim=32,
        feature_size=32,
        mask_feature_size=32,
        encoder_feedforward_dim=32,
        dim_feedforward=32,
        encoder_layers=1,
        decoder_layers=2,
        num_attention_heads=2,
        num_queries=8,
        num_labels=5,
    )
    return pixels(t.Mask2FormerForUniversalSegmentation(config), 128, 160)


@_transformers("MaskFormer")
def _(t: Any) -> Case:
    decoder = t.DetrConfig(
        d_model=32,
        encoder_layers=1,
        decoder_layers=1,
        encoder_attention_heads=2,
        decoder_attention_heads=2,
        encoder_ffn_dim=32,
        decoder_ffn_dim=32,
        num_queries=8,
    )
    config = t.MaskFormerConfig(
        backbone_config=_swin(t), decoder_config=decoder, fpn_feature_size=32, mask_feature_size=32, num_labels=5
    )
    return pixels(t.MaskFormerForInstanceSegmentation(config), 128, 160)


@_transformers("Depth-Anything")
def _(t: Any) -> Case:
    backbone = t.Dinov2Config(
        hidden_size=32,
        num_hidden_layers=4,
        num_attention_heads=2,
        image_size=56,
        patch_size=14,
        out_features=STAGES,
        reshape_hidden_states=False,
        apply_layernorm=True,
    )
    config = t.DepthAnythingConfig(backbone_config=backbone, reassemble_hidden_size=32, head_hidden_size=8, **NECK)
    return pixels(t.DepthAnythingForDepthEstimation(config), 56, 84)


@_transformers("DPT depth")
def _(t: Any) -> Case:
    config = t.DPTConfig(backbone_out_indices=[0, 1, 2, 3], **VIT, **NECK)
    return pixels(t.DPTForDepthEstimation(config), 64, 64)


@_transformers("DPT segmentation")
def _(t: Any) -> Case:
    config = t.DPTConfig(
        backbone_out_indices=[0, 1, 2, 3],
        num_labels=5,
        use_batch_norm_in_fusion_residual=True,
        **VIT,
        **NECK,
    )
    return pixels(t.DPTForSemanticSegmentation(config), 64, 64)


@_transformers("GLPN")
def _(t: Any) -> Case:
    return pixels(t.GLPNForDepthEstimation(t.GLPNConfig()), 64, 96)


@_transformers("ZoeDepth")
def _(t: Any) -> Case:
    backbone = t.BeitConfig(
        out_indices=[1, 2, 3, 4], use_relative_position_bias=True, reshape_hidden_states=False, **VIT
    )
    config = t.ZoeDepthConfig(
        backbone_config=backbone,
        bottleneck_features=16,
        num_relative_features=8,
        num_attractors=[4, 2, 2, 1],
        bin_embedding_dim=16,
        **NECK,
    )
    return pixels(t.ZoeDepthForDepthEstimation(config), 64, 64)


@_transformers("BEiT")
def _(t: Any) -> Case:
    config = t.BeitConfig(out_indices=[1, 2, 3, 4], num_labels=5, use_auxiliary_head=False, **VIT)
    return pixels(t.BeitForSemanticSegmentation(config), 64, 64)


@_transformers("MobileViT")
def _(t: Any) -> Case:
    return pixels(t.MobileViTForSemanticSegmentation(t.MobileViTConfig(num_labels=5)), 64, 96)


@_transformers("Swin2SR")
def _(t: Any) -> Case:
    config = t.Swin2SRConfig(image_size=32, embed_dim=24, depths=[1, 1], num_heads=[2, 2], window_size=4, upscale=4)
    return pixels(t.Swin2SRForImageSuperResolution(config), 16, 24)


@_transformers("RT-DETR")
def _(t: Any) -> Case:
    backbone = t.RTDetrResNetConfig(
        layer_type="basic",
        depths=[1, 1, 1, 1],
        hidden_sizes=[16, 32, 64, 128],
        embedding_size=16,
        out_features=STAGES[1:],
    )
    config = t.RTDetrConfig(
        d_model=32,
        encoder_hidden_dim=32,
        decoder_layers=1,
        encoder_ffn_dim=32,
        decoder_ffn_dim=32,
        num_queries=10,
        num_labels=5,
        decoder_attention_heads=2,
        encoder_attention_heads=2,
        backbone_config=backbone,
        encoder_in_channels=[32, 64, 128],
        decoder_in_channels=[32, 32, 32],
        num_denoising=0,
    )
    return pixels(t.RTDetrForObjectDetection(config), 128, 160)


@_transformers("ViTMatte")
def _(t: Any) -> Case:
    backbone = t.VitDetConfig(
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_channels=4,
        image_size=64,
        patch_size=16,
        out_features=["stage2"],
    )
    config = t.VitMatteConfig(
        backbone_config=backbone,
        hidden_size=32,
        convstream_hidden_sizes=[8, 16, 24],
        fusion_hidden_sizes=[32, 16, 8, 4],
    )
    return pixels(t.VitMatteForImageMatting(config), 64, 96, channels=4)


def _ultralytics(yaml: str, task: str) -> Callable[[], Case]:
    def build() -> Case:
        from ultralytics.nn import tasks

        return images(getattr(tasks, task)(yaml, ch=3, nc=5, verbose=False), 64, 96)

    return build


for _version in ("yolov8n", "yolo11n"):
    network(_version, "ultralytics")(_ultralytics(f"{_version}.yaml", "DetectionModel"))
    network(f"{_version}-seg", "ultralytics")(_ultralytics(f"{_version}-seg.yaml", "SegmentationModel"))


def _monai(name: str, dims: int = 2, **options: Any) -> Callable[[], Case]:
    def build() -> Case:
        from monai.networks import nets

        given = {"spatial_dims": dims, "in_channels": 1, "out_channels": 3, **options}
        size, other = (64, 96) if dims == 2 else (32, 48)
        return images(getattr(nets, name)(**given), size, other, given["in_channels"], dims)

    return build


U = {"channels": (8, 16, 32), "strides": (2, 2)}
DYN = {"kernel_size": [3, 3, 3, 3], "strides": [1, 2, 2, 2], "upsample_kernel_size": [2, 2, 2]}
SUPERVISED = {**DYN, "deep_supervision": True, "deep_supr_num": 1}
BASIC3 = {"features": (4, 4, 8, 16, 16, 4)}
TRANSFORMER = {"img_size": 64, "hidden_size": 48, "num_heads": 2, "mlp_dim": 48, "feature_size": 8}
for _label, _name, _options in (
    ("UNet", "UNet", U),
    ("UNet residual", "UNet", {**U, "num_res_units": 2}),
    ("BasicUNet", "BasicUNet", {}),
    ("BasicUNet nontrainable", "BasicUNet", {"upsample": "nontrainable"}),
    ("BasicUNet pixelshuffle", "BasicUNet", {"upsample": "pixelshuffle"}),
    ("DynUNet", "DynUNet", SUPERVISED),
    ("SegResNet", "SegResNet", {}),
    ("AttentionUnet", "AttentionUnet", U),
    ("VNet", "VNet", {}),
    ("FlexibleUNet", "FlexibleUNet", {"in_channels": 3, "backbone": "resnet18", "pretrained": False}),
    ("UNet 3-D", "UNet", {**U, "dims": 3}),
    ("BasicUNet 3-D", "BasicUNet", {**BASIC3, "dims": 3}),
    ("BasicUNet nontrainable 3-D", "BasicUNet", {**BASIC3, "upsample": "nontrainable", "dims": 3}),
    ("DynUNet 3-D", "DynUNet", {**DYN, "filters": [4, 8, 8, 16], "dims": 3}),
    ("SegResNet 3-D", "SegResNet", {"dims": 3}),
    ("AttentionUnet 3-D", "AttentionUnet", {**U, "dims": 3}),
    ("VNet 3-D", "VNet", {"dims": 3}),
):
    network(f"monai.{_label}", "monai")(_monai(_name, **_options))


@network("monai.UNETR", "monai")
def _() -> Case:
    from monai.networks.nets import UNETR

    return images(UNETR(in_channels=1, out_channels=3, spatial_dims=2, **TRANSFORMER), 64, 64, 1)


GROUPS = {"norm_num_groups": 8}


@network("diffusers.AutoencoderKL", "diffusers")
def _() -> Case:
    import diffusers

    model = diffusers.AutoencoderKL(
        block_out_channels=(16, 32, 32),
        down_block_types=("DownEncoderBlock2D",) * 3,
        up_block_types=("UpDecoderBlock2D",) * 3,
        **GROUPS,
    )
    return images(model, 32, 48)


@network("diffusers.UNet2DModel", "diffusers")
def _() -> Case:
    import diffusers

    model = diffusers.UNet2DModel(
        block_out_channels=(16, 32, 32),
        down_block_types=("DownBlock2D", "AttnDownBlock2D", "DownBlock2D"),
        up_block_types=("UpBlock2D", "AttnUpBlock2D", "UpBlock2D"),
        attention_head_dim=8,
        **GROUPS,
    )
    step = torch.tensor([3, 5])
    return Case(model, (image(32), step), {}, (image(48), step), {})


@network("diffusers.UNet2DConditionModel", "diffusers")
def _() -> Case:
    import diffusers

    model = diffusers.UNet2DConditionModel(
        block_out_channels=(16, 32),
        down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"),
        up_block_types=("UpBlock2D", "CrossAttnUpBlock2D"),
        cross_attention_dim=16,
        attention_head_dim=8,
        layers_per_block=1,
        **GROUPS,
    )
    step, text = torch.tensor([3, 5]), torch.randn(2, 4, 16)
    return Case(model, (image(17, 4), step, text), {}, (image(24, 4), step, text), {})


@network("diffusers.AutoencoderTiny", "diffusers")
def _() -> Case:
    import diffusers

    model = diffusers.AutoencoderTiny(
        encoder_block_out_channels=(8, 8),
        decoder_block_out_channels=(8, 8),
        num_encoder_blocks=(1, 1),
        num_decoder_blocks=(1, 1),
    )
    return images(model, 32, 48)


@network("diffusers.AutoencoderDC", "diffusers")
def _() -> Case:
    import diffusers

    model = diffusers.AutoencoderDC(
        encoder_block_out_channels=(16, 32, 32),
        decoder_block_out_channels=(16, 32, 32),
        encoder_layers_per_block=(1, 1, 1),
        decoder_layers_per_block=(1, 1, 1),
        encoder_block_types="ResBlock",
        decoder_block_types="ResBlock",
        encoder_qkv_multiscales=((), (), ()),
        decoder_qkv_multiscales=((), (), ()),
        latent_channels=8,
    )
    return images(model, 32, 48)


class _Generator(nn.Sequential):
    """A generator of images from noise, all transposed convolutions."""

    def __init__(self) -> None:
        layers: list[nn.Module] = []
        widths = (16, 32, 16, 8)
        for i, (a, b) in enumerate(pairwise(widths)):
            layers += [nn.ConvTranspose2d(a, b, 4, 2 if i else 1, 1 if i else 0, bias=False), nn.BatchNorm2d(b)]
            layers.append(nn.ReLU(True))
        super().__init__(*layers, nn.ConvTranspose2d(widths[-1], 3, 4, 2, 1), nn.Tanh())


@network("DCGAN-like", "hand-written")
def _() -> Case:
    noise = torch.randn(2, 16, 1, 1)
    return Case(_Generator(), (noise,), {}, (noise,), {})


class _SuperResolution(nn.Module):
    """Residual super-resolution with two pixel-shuffles."""

    def __init__(self, width: int = 16) -> None:
        super().__init__()
        self.head, self.body = nn.Conv2d(3, width, 9, padding=4), nn.Conv2d(width, width, 3, padding=1)
        double = [nn.Conv2d(width, 4 * width, 3, padding=1), nn.PixelShuffle(2), nn.PReLU()]
        again = [nn.Conv2d(width, 4 * width, 3, padding=1), nn.PixelShuffle(2), nn.PReLU()]
        self.up, self.tail = nn.Sequential(*double, *again), nn.Conv2d(width, 3, 9, padding=4)

    def forward(self, x: Tensor) -> Tensor:
        x = self.head(x)
        return self.tail(self.up(x + self.body(x)))


@network("SRResNet-like", "hand-written")
def _() -> Case:
    return images(_SuperResolution(), 16, 24)


class _Enhanced(nn.Module):
    """Super-resolution by nearest interpolation and convolution."""

    def __init__(self, width: int = 16) -> None:
        super().__init__()
        self.first, self.last = nn.Conv2d(3, width, 3, 1, 1), nn.Conv2d(width, 3, 3, 1, 1)
        self.up1, self.up2 = nn.Conv2d(width, width, 3, 1, 1), nn.Conv2d(width, width, 3, 1, 1)

    def forward(self, x: Tensor) -> Tensor:
        x = self.first(x)
        x = self.up1(nn.functional.interpolate(x, scale_factor=2, mode="nearest")).relu()
        x = self.up2(nn.functional.interpolate(x, scale_factor=2, mode="nearest")).relu()
        return self.last(x)


@network("ESRGAN-like", "hand-written")
def _() -> Case:
    return images(_Enhanced(), 16, 24)

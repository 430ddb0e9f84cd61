"""Products of matrices compute what the plain convolutions compute, before and after they are multiplied out."""

import torch

from karaffe.models import Sharp
from karaffe.training.expansion import collapse, expand, plain_weights


def test_expanding_and_collapsing_keep_the_network() -> None:
    model, x = Sharp(2, channels=8, depth=2), torch.rand(2, 1, 9, 10)
    torch.nn.init.normal_(model.head.weight, std=0.1)
    before, keys = model(x), set(model.state_dict())
    expand(model, 24)
    torch.testing.assert_close(model(x), before, atol=1e-5, rtol=0)

    optimizer = torch.optim.Adam(model.parameters(), 1e-2)
    for _ in range(3):
        optimizer.zero_grad()
        model(x).square().mean().backward()
        optimizer.step()
    trained = model(x)
    assert (trained - before).abs().max() > 1e-3

    plain = plain_weights(model)
    collapse(model)
    assert set(model.state_dict()) == set(plain) == keys
    torch.testing.assert_close(model(x), trained, atol=1e-5, rtol=0)
    again = Sharp(2, channels=8, depth=2)
    again.load_state_dict(plain)
    torch.testing.assert_close(again(x), trained, atol=1e-5, rtol=0)


def test_only_3x3_convolutions_are_expanded() -> None:
    model = Sharp(2, channels=8, depth=2)
    expand(model, 24)
    assert [k for k in model.state_dict() if "parametrizations" in k] == [
        f"trunk.{i}.parametrizations.weight.original{j}" for i in range(2) for j in range(2)
    ]

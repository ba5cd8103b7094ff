from __future__ import annotations

import subprocess
import sys

import pytest
import torch
from objective_toys import generator, images_of

from archrep.errors import ConfigError
from archrep.objectives.random_labels import RandomLabels
from archrep.objectives.supervised import Supervised


class TestSupervised:
    def test_sees_normalised_images_and_their_classes(self):
        images = images_of()
        pixels = images.pixels(torch.arange(4))
        inputs, targets = Supervised().prepare(
            pixels, images.targets[:4], images, generator(), True
        )
        torch.testing.assert_close(inputs, (pixels - 0.5) / 0.25)
        assert torch.equal(targets, images.targets[:4])

    def test_smoothing_mixes_the_target_with_all_classes(self):
        logits = torch.randn(6, 5, generator=generator())
        targets = torch.tensor([0, 1, 2, 3, 4, 0])
        logs = logits.log_softmax(1)
        wanted = -(0.9 * logs[torch.arange(6), targets] + 0.1 * logs.mean(1)).mean()
        torch.testing.assert_close(Supervised(label_smoothing=0.1).loss(logits, targets), wanted)

    def test_score_is_the_part_that_is_right(self):
        logits = torch.eye(4)
        assert float(Supervised().score(logits, torch.tensor([0, 1, 2, 0]))) == 0.75


class TestRandomLabels:
    def test_labels_are_uniform_and_kept_for_a_seed(self):
        images = images_of(count=4000, size=2)
        adopted = RandomLabels(classes=8).adopt(images, 3)
        assert adopted.classes == 8
        assert torch.equal(adopted.images, images.images)
        again, other = (RandomLabels(classes=8).adopt(images, seed).targets for seed in (3, 4))
        assert torch.equal(adopted.targets, again)
        assert (adopted.targets == other).float().mean() < 0.2
        counts = adopted.targets.bincount(minlength=8)
        assert len(counts) == 8
        assert ((counts - 500).square() / 500).sum() < 24.3  # chi-squared of 7, one in a thousand
        agreement = (adopted.targets[: len(images)] == images.targets).float().mean()
        assert agreement < 0.2  # nothing to do with the classes that were there

    def test_as_many_classes_as_the_images_have_unless_told(self):
        assert RandomLabels().adopt(images_of(classes=5), 0).classes == 5
        two = RandomLabels(classes=2).adopt(images_of(count=50), 0)
        assert two.targets.unique().tolist() == [0, 1]
        assert RandomLabels(classes=5000).adopt(images_of(), 0).classes == 5000

    def test_images_with_masks_become_images_with_classes(self):
        adopted = RandomLabels(classes=4).adopt(images_of("masks"), 0)
        assert (adopted.task, adopted.targets.shape) == ("classes", (12,))

    @pytest.mark.parametrize("task", ["masks", "findings"])
    def test_images_without_classes_need_a_number(self, task):
        with pytest.raises(ConfigError, match=f"`classes` .* must be given .*toy has {task}"):
            RandomLabels().adopt(images_of(task), 0)

    def test_another_process_draws_the_same(self):
        code = (
            "import torch\n"
            "from archrep.data.base import ImageSet\n"
            "from archrep.objectives.random_labels import RandomLabels\n"
            "pixels, classes = torch.zeros(30, 1, 1, 1), torch.zeros(30).long()\n"
            "images = ImageSet('x', pixels, classes, 9, (0,), (1,))\n"
            "print(RandomLabels().adopt(images, 5).targets.tolist())"
        )
        printed = subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, check=True
        ).stdout
        images = images_of(count=30, size=1, classes=9)
        assert printed.strip() == str(RandomLabels().adopt(images, 5).targets.tolist())

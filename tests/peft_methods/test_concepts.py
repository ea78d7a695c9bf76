"""What the pictures count is worked out."""

import pytest

from llmsuite_lab.peft_methods import lora_concepts


def test_the_papers_count_is_in_the_picture():
    words = " ".join(text.get_text() for text in lora_concepts.two_thin_matrices().axes[0].texts)
    assert "8 · (512 + 64) = 4,608" in words
    assert "512 × 64 = 32,768" in words


def test_bytes_are_sixteen_a_trained_number_and_two_a_frozen_one():
    ax = lora_concepts.bytes_held(d_out=500, d_in=200, r=10).axes[0]
    full, thin = 16 * 500 * 200 / 1e6, (2 * 500 * 200 + 16 * 10 * 700) / 1e6
    words = [text.get_text() for text in ax.texts]
    assert words == [f"{full:.1f} MB", f"{thin:.1f} MB"]
    ends = [max(bar.get_x() + bar.get_width() for bar in ax.patches if round(bar.get_y() + bar.get_height() / 2) == y) for y in (0, 1)]
    assert ends == pytest.approx([full, thin])

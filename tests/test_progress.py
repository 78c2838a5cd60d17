import subprocess
import sys


def test_progress_in_a_log_file_is_a_few_plain_lines():
    program = """if True:
        from gsjax.progress import progress_bar
        bar = progress_bar(3000, 1000, "training")
        for _ in range(2000):
            bar.set_postfix_str("loss 0.123 · 87 images/s", refresh=False)
            bar.update()
        bar.close()
    """
    run = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    (line,) = run.stderr.splitlines()
    assert line.startswith("training: 3000/3000")
    assert "loss 0.123 · 87 images/s" in line

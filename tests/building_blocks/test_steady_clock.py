from designs.building_blocks.steady_clock import steady_clock


def test_it_starts_with_the_time_of_day_and_goes_by_what_passes_however_the_clock_is_set() -> None:
    wall_ns, monotonic_ns = 1_800_000_000_000_000_000, 5_000_000_000
    now_us = steady_clock(lambda: wall_ns, lambda: monotonic_ns)
    assert now_us() == 1_800_000_000_000_000
    monotonic_ns += 2_500_000
    wall_ns = 0
    assert now_us() == 1_800_000_000_002_500
    wall_ns = 1_900_000_000_000_000_000
    assert now_us() == 1_800_000_000_002_500

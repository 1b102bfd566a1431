"""Load and its measuring. A design brings a `workload`; everything else knows it by its HTTP interface alone.

    generator       plans of requests, and the open loop that sends them when they are due
    comparison      variants in turns: blocks, rounds, what voids them, and the run as a whole
    analysis        what may be said of the figures: estimates, intervals, verdicts, sentences
    capacity        where the knee is, and who the limiter was
    report          a `result` as page, Markdown and terminal card
    declared        the load of services that are not ours, from a file
    locust_engine   the same load by Locust: journeys, shapes, many machines
    asking, verdict, metrics_page, redis_counter, workloads_page   what each design's load needs alike
    <design>        who asks the design what, and what must hold

`result` is the record all of them read or write, `cpu_clock` what a process cost, `manifest` the conditions of a run.
"""

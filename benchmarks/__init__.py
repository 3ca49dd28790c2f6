"""What polyrun costs, beside the SDKs, the tools and a bare HTTP client, on the engines there are.

    python -m benchmarks [--engine docker|podman] [--jobs run,exec,...] [--rounds N] [--markdown FILE]

In each round every contender does the job, in random order, and the result of every call is
verified outside of the time that counts. A ratio compares with the floor, which is a bare
`http.client` on one kept connection that sends only the requests the job needs: it is the median
over the rounds of a contender's time beside the floor's in the same round.
"""

"""The smallest load: one request, which fails when the mix says so, and the end."""

import os

from locust import FastHttpUser, constant, task


class Visitor(FastHttpUser):
    wait_time = constant(0.05)

    @task
    def look(self) -> None:
        path = "/nowhere" if os.environ["DESIGNS_MIX"] == "failing" else "/"
        with self.client.get(path, catch_response=True) as response:
            if path == "/nowhere":
                response.failure("this mix is made to fail")
        if os.environ["DESIGNS_MIX"] != "endless":
            self.environment.runner.quit()

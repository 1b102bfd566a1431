"""The smallest load: one request after the other, checked against what the workbench handed over."""

import os

from locust import FastHttpUser, task


class Visitor(FastHttpUser):
    @task
    def look(self) -> None:
        path = "/" if os.environ["DESIGN_MIX"] == "fine" else "/nowhere"
        with self.client.get(path, catch_response=True) as response:
            if path == "/nowhere":
                response.failure("this mix is made to fail")

"""The floor of `make bench`: what Flask costs that does nothing."""

from flask import Flask

app = Flask(__name__)


@app.post("/pay/<session_id>")
def pay(session_id: str) -> dict[str, str]:
    return {"status": "success", "sessionId": session_id}

"""Plan Clip in the host's real frontend: run from the canvas, its plan stands on the node."""

from __future__ import annotations

import cv2

from .test_frontend import FAULTS, page  # noqa: F401  (a fixture)

# A graph of a video and its plan, queued as the Run button does.
RUN = """async () => {
    app.graph.clear();
    const load = LiteGraph.createNode('WanAnimateKitLoadVideo'), plan = LiteGraph.createNode('WanAnimateKitPlanClip');
    app.graph.add(load); app.graph.add(plan);
    load.pos = [100, 150]; plan.pos = [560, 150]; plan.size = [760, 900];
    load.widgets.find(w => w.name === 'file').value = 'driver.mp4';
    load.widgets.find(w => w.name === 'limit').value = 60;
    plan.widgets.find(w => w.name === 'segment_length').value = 33;
    load.connect(0, plan, plan.inputs.findIndex(input => input.name === 'frames'));
    await app.queuePrompt(0);
    for (let i = 0; i < 600 && !plan.widgets.some(w => w.name === 'plan' && w.value); i++)
        await new Promise(done => setTimeout(done, 100));
    return plan.widgets.find(w => w.name === 'plan')?.value ?? null;
}"""


def test_the_plan_stands_on_the_node(page, tmp_path):  # noqa: F811
    text = page.evaluate(RUN)
    assert text and "| Segments | 2 of 33 frames" in text and "| Clip | 60 frames of " in text
    page.wait_for_timeout(1500)
    # rendered: a table, not its source
    assert page.evaluate("[...document.querySelectorAll('table td')].some(cell => cell.innerText === 'Segments')")
    page.set_viewport_size({"width": 1500, "height": 1200})
    path = tmp_path / "plan.png"
    page.screenshot(path=path)
    assert cv2.imread(str(path)).std() > 5 and page.evaluate(FAULTS) == []
    saved = page.evaluate("app.graph.serialize().nodes.find(n => n.type === 'WanAnimateKitPlanClip').widgets_values")
    assert not any(isinstance(value, str) and "Segments" in value for value in saved or [])

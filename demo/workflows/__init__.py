"""The shipped workflows, made from one description each: graph, API graph, app and subgraph.

python -m demo.workflows            # writes workflows/ and subgraphs/ by the node definitions of a real ComfyUI
"""

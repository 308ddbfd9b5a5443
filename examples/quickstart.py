"""Three retailers, two shared models, no shared rows."""

import grandtotal as gt

plan = gt.init("my-consortium")  # plan.toml, three retailer.toml files, example tables
print(gt.check("my-consortium/north/retailer.toml").text())

run = gt.run(plan)  # north, south and west answer with subtotals only
for task, scores in run.scores.items():
    gain = scores["overall"]["gain"]["alone"]
    print(f"{task}: {gain['relative']:+.1%} over training alone")

print(run.predict("north", "recommend", top=3).head(6))
print("report:", run.report())

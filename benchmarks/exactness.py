def run(data, quick):
    return []
